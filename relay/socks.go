package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
)

// SOCKS5 as RFC 1928 has it: no authentication, CONNECT alone.
const (
	version    = 5
	noLogin    = 0
	noMethod   = 0xff
	connect    = 1
	byIPv4     = 1
	byName     = 3
	byIPv6     = 4
	addressLen = 4 + 2 // of an IPv4 address and a port, in a reply
)

// Reply codes.
const (
	succeeded         = 0
	generalFailure    = 1
	hostUnreachable   = 4
	connectionRefused = 5
	notSupported      = 7 // of a command: UDP and BIND
	otherAddress      = 8
)

// refusal is a request that is answered with a code.
type refusal byte

func (r refusal) Error() string {
	switch r {
	case notSupported:
		return "only TCP connections are made"
	case otherAddress:
		return "an address of a kind that is not known"
	}
	return "no SOCKS5"
}

type destination struct {
	host string
	port int
}

// request takes a client's greeting and what it asks for.
func request(client io.ReadWriter) (destination, error) {
	var to destination
	head := make([]byte, 4)
	if _, err := io.ReadFull(client, head[:2]); err != nil {
		return to, err
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(client, methods); err != nil {
		return to, err
	}
	method := byte(noMethod)
	for _, m := range methods {
		if m == noLogin {
			method = noLogin
		}
	}
	if head[0] != version || method == noMethod {
		_, _ = client.Write([]byte{version, noMethod})
		return to, refusal(generalFailure)
	}
	if _, err := client.Write([]byte{version, method}); err != nil {
		return to, err
	}
	if _, err := io.ReadFull(client, head); err != nil {
		return to, err
	}
	if head[0] != version {
		return to, refusal(generalFailure)
	}
	host, err := address(client, head[3])
	if err != nil {
		return to, err
	}
	port := make([]byte, 2)
	if _, err := io.ReadFull(client, port); err != nil {
		return to, err
	}
	if head[1] != connect {
		return to, refusal(notSupported)
	}
	return destination{host, int(binary.BigEndian.Uint16(port))}, nil
}

func address(client io.Reader, kind byte) (string, error) {
	n := make([]byte, 1)
	switch kind {
	case byIPv4:
		n[0] = net.IPv4len
	case byIPv6:
		n[0] = net.IPv6len
	case byName:
		if _, err := io.ReadFull(client, n); err != nil {
			return "", err
		}
	default:
		return "", refusal(otherAddress)
	}
	text := make([]byte, n[0])
	if _, err := io.ReadFull(client, text); err != nil {
		return "", err
	}
	if kind == byName {
		return string(text), nil
	}
	return net.IP(text).String(), nil
}

// reply answers a request. The address is left empty: nobody needs it.
func reply(client io.Writer, code byte) error {
	_, err := client.Write(append([]byte{version, code, 0, byIPv4}, make([]byte, addressLen)...))
	return err
}

// code tells a client why it is not connected.
func code(err error) byte {
	var refused refusal
	var dns *net.DNSError
	switch {
	case errors.As(err, &refused):
		return byte(refused)
	case errors.Is(err, syscall.ECONNREFUSED):
		return connectionRefused
	case errors.As(err, &dns), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, context.DeadlineExceeded):
		return hostUnreachable
	}
	return generalFailure
}
