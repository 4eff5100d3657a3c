package fleet

// NewMemory returns a store in memory, for tests of other packages.
func NewMemory() Store { return newMemory() }

// AdvanceMemory moves its clock on.
func AdvanceMemory(s Store, seconds float64) {
	m := s.(*memory)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tick += seconds
}

// EmptyMemory has it forget all.
func EmptyMemory(s Store) {
	m := s.(*memory)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows, m.known = map[string]*memoryRow{}, false
}
