package pgxgate

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// What the server says to deferred statements is left out, however it arrives.
func TestAnswers(t *testing.T) {
	message := func(typ byte, body string) string {
		return string(binary.BigEndian.AppendUint32([]byte{typ}, uint32(4+len(body)))) + body
	}
	begun := message('1', "") + message('2', "") + message('C', "BEGIN\x00")
	notice := message('N', strings.Repeat("notice", 2000))
	rest := message('2', "") + message('D', strings.Repeat("x", 10_000)) + message('C', "SELECT 1\x00") + message('Z', "T")
	failed := message('E', "no") + message('Z', "I")
	for name, c := range map[string]struct {
		skip       int
		sent, want string
	}{
		"nothing":                    {0, begun + rest, begun + rest},
		"one":                        {1, begun + rest, rest},
		"two":                        {2, begun + begun + rest, rest},
		"notices":                    {2, notice + begun + notice + notice + begun + notice + rest, strings.Repeat(notice, 4) + rest},
		"the first fails":            {2, failed, failed},
		"the second fails":           {2, begun + message('1', "") + failed, failed},
		"the first fails in the end": {1, message('1', "") + message('2', "") + failed, failed},
	} {
		for way, reader := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "by bytes": iotest.OneByteReader, "by halves": iotest.HalfReader, "with its end": iotest.DataErrReader,
		} {
			a := &answers{from: reader(strings.NewReader(c.sent)), skip: c.skip}
			var got bytes.Buffer
			if _, err := io.CopyBuffer(&got, struct{ io.Reader }{a}, make([]byte, 7)); err != nil || got.String() != c.want {
				t.Errorf("%s, %s: got %d bytes, want %d: %v", name, way, got.Len(), len(c.want), err)
			}
			if a.skip != 0 || len(a.read) > 0 {
				t.Errorf("%s, %s: %d answers and %d bytes are left", name, way, a.skip, len(a.read))
			}
		}
	}
}
