package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"gopkg.in/rethinkdb/rethinkdb-go.v6/ql2"
)

// credentials are what SCRAM-SHA-256 (RFC 7677) keeps in place of a password.
type credentials struct {
	HasPassword          bool
	Salt                 []byte
	Iterations           int
	StoredKey, ServerKey []byte
}

// The real server's number too; an empty password is not worth the work.
const iterations = 4096

func newCredentials(password string) credentials {
	c := credentials{HasPassword: password != "", Salt: make([]byte, 16), Iterations: iterations}
	rand.Read(c.Salt)
	if !c.HasPassword {
		c.Iterations = 1
	}
	salted, err := pbkdf2.Key(sha256.New, password, c.Salt, c.Iterations, sha256.Size)
	if err != nil { // only with parameters that FIPS does not allow
		panic(err)
	}
	stored := sha256.Sum256(keyed(salted, "Client Key"))
	c.StoredKey, c.ServerKey = stored[:], keyed(salted, "Server Key")
	return c
}

func keyed(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// authError is refused with the codes of the real server.
type authError struct {
	code int
	text string
}

func (e authError) Error() string { return e.text }

const (
	codeBadRequest    = 5
	codeWrongPassword = 12
	codeUnknownUser   = 17
)

// greet goes through the handshake of the driver protocol V1_0, https://rethinkdb.com/docs/writing-drivers/.
func greet(conn io.ReadWriter, reader *bufio.Reader, known func(user string) (credentials, bool)) (user string, err error) {
	var magic [4]byte
	if _, err := io.ReadFull(reader, magic[:]); err != nil {
		return "", err
	}
	if binary.LittleEndian.Uint32(magic[:]) != uint32(ql2.VersionDummy_V1_0) {
		_, err := io.WriteString(conn, "ERROR: Received an unsupported protocol version. This port is for RethinkDB "+
			"queries. Does your client driver version not match the server?\n\x00")
		return "", errors.Join(errors.New("unsupported protocol version"), err)
	}
	err = answer(conn, map[string]any{
		"success": true, "min_protocol_version": 0, "max_protocol_version": 0, "server_version": "2.4.4",
	})
	if err != nil {
		return "", err
	}
	user, err = authenticate(conn, reader, known)
	if refused := (authError{}); errors.As(err, &refused) {
		err = errors.Join(err, answer(conn, map[string]any{
			"success": false, "error": refused.text, "error_code": refused.code,
		}))
	}
	return user, err
}

func authenticate(conn io.Writer, reader *bufio.Reader, known func(user string) (credentials, bool)) (user string, err error) {
	var first struct {
		Version int    `json:"protocol_version"`
		Method  string `json:"authentication_method"`
		Text    string `json:"authentication"`
	}
	if err := readJSON(reader, &first); err != nil {
		return "", err
	}
	bare, ok := strings.CutPrefix(first.Text, "n,,")
	if !ok || first.Version != 0 || first.Method != "SCRAM-SHA-256" {
		return "", authError{codeBadRequest, "Unsupported protocol version or authentication method"}
	}
	given := attributes(bare)
	user = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(given["n"])
	c, ok := known(user)
	if !ok {
		return "", authError{codeUnknownUser, "Unknown user"}
	}
	nonce := given["r"] + rand.Text()
	challenge := fmt.Sprintf("r=%s,s=%s,i=%d", nonce, base64.StdEncoding.EncodeToString(c.Salt), c.Iterations)
	if err := answer(conn, map[string]any{"success": true, "authentication": challenge}); err != nil {
		return "", err
	}
	var final struct {
		Text string `json:"authentication"`
	}
	if err := readJSON(reader, &final); err != nil {
		return "", err
	}
	withoutProof, _, _ := strings.Cut(final.Text, ",p=")
	message := bare + "," + challenge + "," + withoutProof
	proof, err := base64.StdEncoding.DecodeString(attributes(final.Text)["p"])
	if err != nil || attributes(final.Text)["r"] != nonce || !c.proves(proof, message) {
		return "", authError{codeWrongPassword, "Wrong password"}
	}
	signature := base64.StdEncoding.EncodeToString(keyed(c.ServerKey, message))
	return user, answer(conn, map[string]any{"success": true, "authentication": "v=" + signature})
}

func (c credentials) proves(proof []byte, message string) bool {
	signature := keyed(c.StoredKey, message)
	if len(proof) != len(signature) {
		return false
	}
	for i := range signature {
		signature[i] ^= proof[i] // the client's key
	}
	stored := sha256.Sum256(signature)
	return hmac.Equal(stored[:], c.StoredKey)
}

func attributes(text string) map[string]string {
	found := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		found[name] = value
	}
	return found
}

// longestGreeting is far more than any client says.
const longestGreeting = 4096

func readJSON(reader *bufio.Reader, value any) error {
	var text []byte
	for {
		b, err := reader.ReadByte()
		if err != nil {
			return err
		}
		if b == 0 {
			break
		}
		if text = append(text, b); len(text) > longestGreeting {
			return authError{codeBadRequest, "The message is too long"}
		}
	}
	if json.NewDecoder(bytes.NewReader(text)).Decode(value) != nil {
		return authError{codeBadRequest, "The message is no JSON"}
	}
	return nil
}

func answer(conn io.Writer, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = conn.Write(append(text, 0))
	return err
}
