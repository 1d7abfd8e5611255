package droplets

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"

	"go.yaml.in/yaml/v4"
)

// firstBoot is what of user data is carried out.
type firstBoot struct {
	packages, keys, scripts []string
}

// readUserData reads a cloud-config, a script, or a MIME archive of both.
func readUserData(data string) (f firstBoot, err error) {
	message, err := mail.ReadMessage(strings.NewReader(data))
	if err != nil { // no archive
		return f, f.add(data)
	}
	kind, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil || !strings.HasPrefix(kind, "multipart/") {
		return f, fmt.Errorf("user data is of the type %q: %w", kind, err)
	}
	for parts := multipart.NewReader(message.Body, params["boundary"]); ; {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return f, err
		}
		text, err := io.ReadAll(part)
		if err == nil {
			err = f.add(string(text))
		}
		if err != nil {
			return f, err
		}
	}
}

func (f *firstBoot) add(part string) error {
	switch {
	case part == "":
	case strings.HasPrefix(part, "#!"):
		f.scripts = append(f.scripts, part)
	case strings.HasPrefix(part, "#cloud-config"):
		var config struct {
			Packages []string
			Keys     []string `yaml:"ssh_authorized_keys"`
		}
		if err := yaml.Unmarshal([]byte(part), &config); err != nil {
			return err
		}
		f.packages, f.keys = append(f.packages, config.Packages...), append(f.keys, config.Keys...)
	default:
		return fmt.Errorf("user data of no kind that is known: %.20q", part)
	}
	return nil
}
