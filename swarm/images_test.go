package swarm

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"testing"
)

// reader is one end of a pipe: how much it reads before it gives up, or all.
type reader struct {
	limit int
	got   bytes.Buffer
	err   error // of its last read
}

var errFull = errors.New("no space left on device")

func (r *reader) read(pipe *io.PipeReader) {
	if r.limit < 0 {
		_, r.err = io.Copy(&r.got, pipe)
		return
	}
	_, r.err = io.CopyN(&r.got, pipe, int64(r.limit))
	_ = pipe.CloseWithError(errFull)
}

// fan copies what is sent to readers, the way Ship does.
func fan(t *testing.T, sent io.Reader, end error, readers ...*reader) error {
	t.Helper()
	pipes := make(fanout, len(readers))
	var reading sync.WaitGroup
	for i, r := range readers {
		out, in := io.Pipe()
		pipes[i] = in
		reading.Go(func() { r.read(out) })
	}
	_, err := io.CopyBuffer(pipes, struct{ io.Reader }{sent}, make([]byte, 1000))
	pipes.close(end)
	reading.Wait()
	return err
}

func image(size int) []byte {
	content := make([]byte, size)
	_, _ = rand.Read(content)
	return content
}

func TestFanoutGivesEveryReaderAll(t *testing.T) {
	sent := image(123_456)
	all := []*reader{{limit: -1}, {limit: -1}, {limit: -1}}
	if err := fan(t, bytes.NewReader(sent), nil, all...); err != nil {
		t.Error(err)
	}
	for i, r := range all {
		if r.err != nil || !bytes.Equal(r.got.Bytes(), sent) {
			t.Errorf("reader %d got %d of %d bytes, %v", i, r.got.Len(), len(sent), r.err)
		}
	}
}

func TestFanoutGoesOnWhenAReaderFails(t *testing.T) {
	sent := image(123_456)
	for _, limit := range []int{0, 1, 999, 1000, 50_000} {
		well, failing, other := &reader{limit: -1}, &reader{limit: limit}, &reader{limit: -1}
		if err := fan(t, bytes.NewReader(sent), nil, well, failing, other); err != nil {
			t.Errorf("one that fails after %d bytes: %v", limit, err)
		}
		for _, r := range []*reader{well, other} {
			if r.err != nil || !bytes.Equal(r.got.Bytes(), sent) {
				t.Errorf("beside one that fails after %d bytes another got %d of %d bytes, %v", limit, r.got.Len(), len(sent), r.err)
			}
		}
	}
}

// An image of gigabytes is not read to its end for nobody.
func TestFanoutEndsWhenEveryReaderHasFailed(t *testing.T) {
	endless := &counting{}
	err := fan(t, endless, nil, &reader{limit: 500}, &reader{limit: 10_000})
	if !errors.Is(err, errAllEnded) {
		t.Errorf("error %v", err)
	}
	if endless.read > 20_000 {
		t.Errorf("read %d bytes", endless.read)
	}
}

type counting struct{ read int }

func (c *counting) Read(p []byte) (int, error) {
	c.read += len(p)
	return len(p), nil
}

// What breaks off must not look like the end of the image.
func TestFanoutPassesOnWhyItBrokeOff(t *testing.T) {
	broken := errors.New("unexpected EOF")
	r := &reader{limit: -1}
	if err := fan(t, bytes.NewReader(image(5000)), broken, r); err != nil {
		t.Error(err)
	}
	if !errors.Is(r.err, broken) || r.got.Len() != 5000 {
		t.Errorf("the reader got %d bytes, %v", r.got.Len(), r.err)
	}
}
