package fleet

import (
	"context"
	"slices"
)

// A Store is where the members of a fleet find one another. [NewPostgreSQL]
// returns the usual one. Its methods are safe for concurrent use. The package
// fleettest has the tests that every Store must pass.
//
// A Store keeps a clock of its own, which counts seconds and which Write alone
// moves: by as much as the store's own time has gone on since the last Write, but
// by no more than maxTick. So a store that was away does not let rows expire all at
// once, and a wall clock that steps does not either.
type Store interface {
	// Read returns the fleet as it is now. It takes no lock: what it returns
	// decides what is fair, not what is safe.
	Read(ctx context.Context) (View, error)

	// Write does all of a heartbeat in one transaction which no other Write of
	// the fleet overlaps, see Heartbeat. It must not leave the transaction open
	// across a round trip: a member that is stopped would stop all others.
	Write(ctx context.Context, h Heartbeat) (Reply, error)

	// Leave deletes the row of a member.
	Leave(ctx context.Context, key string) error
}

// A View is a fleet at one moment.
type View struct {
	Budget  int // the lowest that a member announces; 0 if there is none
	Tick    float64
	Members []Member
}

// put replaces the row of a member, or adds it.
func (v *View) put(row Member) {
	i := slices.IndexFunc(v.Members, func(m Member) bool { return m.Key == row.Key })
	if i < 0 {
		v.Members = append(v.Members, row)
	} else {
		v.Members[i] = row
	}
}

// A Member is the row of a member in the store.
type Member struct {
	Key    string
	Seq    int64
	Demand float64
	Grant  int
	Min    int
	Weight float64
	Budget int
}

// A Heartbeat is what a member tells the store. Write does this:
//
//  1. It takes the fleet's lock, and only then reads anything.
//  2. It moves the clock on, see Store.
//  3. If it knows no clock, or if the server's timeline is another one, the
//     fleet learns until maxTTL later: rows of members that are alive may be
//     missing.
//  4. It deletes the rows that have expired.
//  5. If the row of Key has a token that is not among Tokens, another member has
//     the same key: the reply is Duplicate.
//  6. If the row's Seq is not below Seq, the heartbeat is late: the reply is Late.
//  7. The limit is Limit while the fleet learns. Otherwise it is Target, but not
//     more than the lowest budget leaves besides the grants of the others, and
//     nothing less than 0. A member without a row counts as one whose Limit is 0.
//  8. It writes the row: the grant is the higher of the limit and InUse.
type Heartbeat struct {
	Key     string
	Seq     int64   // rises with each heartbeat of a member
	Token   int64   // random, for this heartbeat
	Tokens  []int64 // of the heartbeats since the last one that was answered, and of that
	Limit   int     // the limit of the member as it sends this
	InUse   int     // connections that the member has
	Target  int     // the limit that it would like
	Demand  float64
	Min     int
	Weight  float64
	Budget  int
	Seconds float64 // for which the row is good
}

// A Reply is what the store says to a heartbeat.
type Reply struct {
	Status Status
	Limit  int // from now on
	Grant  int // of the row: never below Limit
}

// Status says what became of a heartbeat.
type Status int

// The statuses.
const (
	Written   Status = iota
	Duplicate        // another member has the same key
	Late             // a later heartbeat was there before
)

const (
	// maxTick is how far a Write moves the clock at most, in seconds.
	maxTick = 1.5

	// maxTTL is for how many seconds a row is good at most.
	maxTTL = 30
)
