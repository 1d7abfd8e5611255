// Package usage marks errors that say that what was asked for cannot be asked:
// a name that is none, a count out of range. The command line ends with exit
// code 2 for them and 1 for everything else.
package usage

import "fmt"

// Error is a wrong request, told in one line.
type Error struct{ text string }

// Errorf makes an Error.
func Errorf(format string, args ...any) error {
	return Error{fmt.Sprintf(format, args...)}
}

func (e Error) Error() string { return e.text }
