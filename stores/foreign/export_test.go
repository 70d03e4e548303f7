package foreignstore

// UnderWay is how many calls the driver has not returned from.
func UnderWay(s *Store) int { return len(s.room) }
