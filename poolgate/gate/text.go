package gate

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MarshalText returns "sliding" or "chunked".
func (m Mode) MarshalText() ([]byte, error) {
	if m != Sliding && m != Chunked {
		return nil, fmt.Errorf("gate: %v has no text", m)
	}
	return []byte(m.String()), nil
}

// UnmarshalText accepts what MarshalText returns, so that a Mode can be read
// from a flag, from the environment or from a file.
func (m *Mode) UnmarshalText(text []byte) error {
	for _, mode := range []Mode{Sliding, Chunked} {
		if string(text) == mode.String() {
			*m = mode
			return nil
		}
	}
	return fmt.Errorf("gate: mode is %q, must be sliding or chunked", text)
}

// UnmarshalText reads a class from one line of text, such as a flag has:
//
//	reports max=8 priority=-1 max_wait=5s
//
// The name comes first, then the fields that are not zero, in any order:
// reserved, max, priority, max_waiting, max_wait.
func (c *Class) UnmarshalText(text []byte) error {
	fields := strings.Fields(string(text))
	if len(fields) == 0 || strings.Contains(fields[0], "=") {
		return fmt.Errorf("gate: class %q does not begin with a name", text)
	}
	read := Class{Name: fields[0]}
	seen := make(map[string]bool)
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, "=")
		if seen[key] {
			return fmt.Errorf("gate: class %s: %s is given twice", read.Name, key)
		}
		seen[key] = true
		var err error
		switch key {
		case "reserved":
			read.Reserved, err = strconv.Atoi(value)
		case "max":
			read.Max, err = strconv.Atoi(value)
		case "priority":
			read.Priority, err = strconv.Atoi(value)
		case "max_waiting":
			read.MaxWaiting, err = strconv.Atoi(value)
		case "max_wait":
			read.MaxWait, err = time.ParseDuration(value)
		default:
			return fmt.Errorf("gate: class %s: unknown field %q; there are reserved, max, priority, max_waiting and max_wait",
				read.Name, key)
		}
		if err != nil {
			return fmt.Errorf("gate: class %s: %s: %w", read.Name, key, err)
		}
	}
	*c = read
	return nil
}
