package tunnel

// watchSize: Windows has no signal for it; the session keeps its first size.
func watchSize(func()) (stop func()) { return func() {} }
