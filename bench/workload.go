package bench

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// A Kind is what an operation does.
type Kind int

const (
	// Write inserts three parents and their five children.
	Write Kind = iota
	// Read selects ten parents and the children of those.
	Read
)

// String returns "write" or "read".
func (k Kind) String() string {
	if k == Write {
		return "write"
	}
	return "read"
}

// An Op is one operation of the workload.
type Op struct {
	Kind Kind
	// Base identifies a write: the parents of a write carry Base+1,
	// Base+2 and Base+3 for data. It is a multiple of three, and no two
	// writes have the same, so that afterwards each row can be traced to the
	// write that it came from. Zero in a read.
	Base int
}

// parentsPerWrite is how many parents a write inserts.
const parentsPerWrite = 3

// childrenOf is how many children the first, second and third parent of a
// write get.
var childrenOf = [parentsPerWrite]int{2, 1, 2}

// childrenPerWrite is the sum of childrenOf.
const childrenPerWrite = 5

// parentsPerRead is how many parents a read selects at most.
const parentsPerRead = 10

// Plan returns the operations of a run in their order. Each is a read or a write
// with equal probability, and the values written are in random order. The same n
// and seed give the same plan on every machine.
func Plan(n int, seed uint64) []Op {
	random := rand.New(rand.NewPCG(seed, 0))
	ops := make([]Op, n)
	var writes []int
	for i := range ops {
		ops[i].Kind = Kind(random.IntN(2))
		if ops[i].Kind == Write {
			writes = append(writes, i)
		}
	}
	for nth, base := range random.Perm(len(writes)) {
		ops[writes[nth]].Base = base * parentsPerWrite
	}
	return ops
}

// Data returns what the write's parents carry.
func (op Op) Data() [parentsPerWrite]string {
	var data [parentsPerWrite]string
	for i := range data {
		data[i] = strconv.Itoa(op.Base + 1 + i)
	}
	return data
}

// wantChildren returns how many children belong to the parent with this data.
func wantChildren(data string) (int, error) {
	n, err := strconv.Atoi(data)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("data %q is none of the workload's", data)
	}
	return childrenOf[(n-1)%parentsPerWrite], nil
}
