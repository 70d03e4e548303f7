package memorystore

// Pass is the sweeper's pass, now.
func (s *Store) Pass() {
	s.sweeper.running.Add(1)
	s.pass()
}
