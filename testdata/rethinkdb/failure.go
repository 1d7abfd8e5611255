package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"gopkg.in/rethinkdb/rethinkdb-go.v6/ql2"
)

// failure is a kind of error that drivers tell apart. Those of the ReQL protocol have its numbers.
type failure int32

const (
	internal        = failure(ql2.Response_INTERNAL)
	queryLogic      = failure(ql2.Response_QUERY_LOGIC)
	resourceLimit   = failure(ql2.Response_RESOURCE_LIMIT)
	nonExistence    = failure(ql2.Response_NON_EXISTENCE)
	opFailed        = failure(ql2.Response_OP_FAILED)
	opIndeterminate = failure(ql2.Response_OP_INDETERMINATE)
	// compileError is no runtime error; notLeader stays between servers.
	compileError failure = -1
	notLeader    failure = -2
)

type queryError struct {
	kind failure
	text string
}

func (e *queryError) Error() string { return e.text }

// Is makes an error that came from another server equal to the one that it was there.
func (e *queryError) Is(other error) bool {
	same, ok := other.(*queryError)
	return ok && *same == *e
}

var errNotLeader error = &queryError{notLeader, "the server does not lead this table"}

func failureOf(err error) failure {
	if e := new(queryError); errors.As(err, &e) {
		return e.kind
	}
	return internal
}

func logicError(format string, args ...any) error {
	return &queryError{queryLogic, fmt.Sprintf(format, args...)}
}

// unknown refuses what the real server may know.
func unknown(format string, args ...any) error {
	return &queryError{compileError, "This is skep's stand-in for RethinkDB, not the real server: " + fmt.Sprintf(format, args...)}
}

// printed is how error texts show a value.
func printed(value any) string {
	text, err := json.MarshalIndent(value, "", "\t")
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}
