package core

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/cryptotest"
)

// TestK15NewID is requirement 1, too.
func TestK15NewID(t *testing.T) {
	t.Parallel()
	const n = 100_000
	seen := make(map[ID]bool, n)
	// biased returns the bits that are set far too often or too seldom.
	biased := func() (bits []int) {
		var ones [idBytes * 8]int
		for range n {
			id := newID()
			if seen[id] {
				t.Fatal("an id came twice")
			}
			seen[id] = true
			raw, err := base64.RawURLEncoding.DecodeString(string(id))
			if err != nil || len(raw) != idBytes || len(id) != 32 || !id.shaped() || id.checkNew() != nil {
				t.Fatalf("an id of %d characters, %d bytes: %v", len(id), len(raw), err)
			}
			for i := range ones {
				ones[i] += int(raw[i/8] >> (i % 8) & 1)
			}
		}
		sigma := math.Sqrt(n) / 2
		for i, k := range ones {
			if math.Abs(float64(k)-n/2) > 5*sigma {
				bits = append(bits, i)
			}
		}
		return bits
	}
	// Once in ten thousand times chance alone is five sigma off in some bit.
	if first := biased(); first != nil && biased() != nil {
		t.Errorf("bits such as %d are off by more than 5 sigma, in two runs", first)
	}
}

// TestK15CryptoRand: all of an id comes from crypto/rand. Another source would look the
// same to TestK15NewID.
func TestK15CryptoRand(t *testing.T) {
	ids := map[ID]bool{}
	for range 3 {
		cryptotest.SetGlobalRandom(t, 1)
		ids[newID()] = true
	}
	cryptotest.SetGlobalRandom(t, 2)
	if ids[newID()] || len(ids) != 1 {
		t.Errorf("crypto/rand does not decide about the id: %d ids of one seed", len(ids))
	}
}

func TestIDFormat(t *testing.T) {
	t.Parallel()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for c := range 256 {
		want := strings.IndexByte(alphabet, byte(c)) >= 0
		for _, s := range []string{string([]byte{byte(c)}), "ab" + string([]byte{byte(c)}), string([]byte{byte(c)}) + "ab"} {
			if got := ID(s).shaped(); got != want {
				t.Errorf("shaped(%q) = %v", s, got)
			}
		}
	}
	for n, want := range map[int]bool{0: false, 1: true, 128: true, 129: false, 1 << 20: false} {
		if got := ID(strings.Repeat("a", n)).shaped(); got != want {
			t.Errorf("shaped of %d characters = %v", n, got)
		}
	}
}

func TestIDCheckNew(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		id   ID
		want string // "" for no error
	}{
		{ID(strings.Repeat("a", 16)), ""},
		{ID(strings.Repeat("a", 128)), ""},
		{"", "0 characters"},
		{"abc", "3 characters, at least 16"},
		{ID(strings.Repeat("a", 15)), "15 characters"},
		{ID(strings.Repeat("a", 129)), "129 characters, at most 128"},
		{"0123456789abcde/", "characters other than"},
		{"0123456789abcdef\r\nSet-Cookie: a=b", "characters other than"},
		{"0123456789abcdéf", "characters other than"},
	} {
		err := test.id.checkNew()
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%d characters: %v", len(test.id), err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("error %v, want one with %q", err, test.want)
		case err != nil && len(test.id) > 0 && strings.Contains(err.Error(), string(test.id)):
			t.Error("the error shows the id")
		}
	}
}

// TestIDNeverPrinted is requirement 10.
func TestIDNeverPrinted(t *testing.T) {
	t.Parallel()
	const id ID = "canary-CANARY-canary-CANARY-0123"
	type holder struct {
		ID   ID
		Ptr  *ID
		List []ID
		Any  any
	}
	secret := id
	values := map[string]any{
		"value":   id,
		"pointer": &secret,
		"struct":  holder{id, nil, []ID{id}, id},
		"slice":   []ID{id},
		"map":     map[string]ID{"a": id},
	}
	spellings := []string{
		string(id), fmt.Sprintf("%x", string(id)), fmt.Sprintf("%X", string(id)), fmt.Sprintf("% x", string(id)),
		fmt.Sprint([]byte(id)), base64.StdEncoding.EncodeToString([]byte(id)), "canary",
	}
	check := func(t *testing.T, way, out string) {
		t.Helper()
		for _, s := range spellings {
			if strings.Contains(out, s) {
				t.Errorf("%s shows the id: %s", way, out)
			}
		}
	}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			verbs := []string{"%s", "%v", "%q", "%x", "%X", "% x", "%d", "%#v", "%+v", "%#q", "%40s", "%.40s", "%c", "%U", "%t"}
			for _, verb := range verbs {
				out := fmt.Sprintf(verb, v)
				check(t, verb, out)
				if name == "value" && out != id.String() {
					t.Errorf("%s prints %q", verb, out)
				}
			}
			check(t, "Sprint", fmt.Sprint(v))
			check(t, "Sprintln", fmt.Sprintln(v))
			check(t, "Errorf", fmt.Errorf("for %v", v).Error())

			var text, jsonLog bytes.Buffer
			slog.New(slog.NewTextHandler(&text, nil)).Info("m", "id", v, slog.Group("g", "id", v))
			check(t, "slog text", text.String())
			slog.New(slog.NewJSONHandler(&jsonLog, nil)).Info("m", "id", v, slog.Group("g", "id", v))
			check(t, "slog json", jsonLog.String())

			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			check(t, "encoding/json", string(b))
		})
	}
	t.Run("fingerprint", func(t *testing.T) {
		t.Parallel()
		if again := ID(string(id)); again.String() != id.String() || id.String() == ID("another").String() || len(id.String()) != len("id:01234567") {
			t.Errorf("fingerprint %q", id.String())
		}
		if got := ID("").String(); got != "no id" {
			t.Errorf("fingerprint of none: %q", got)
		}
		if strings.Contains(hashedKey("", id), strings.TrimPrefix(id.String(), "id:")) {
			t.Error("the fingerprint is a part of the store's key")
		}
		sum := sha256.Sum256([]byte(id))
		if id.String() == fmt.Sprintf("id:%x", sum[:4]) {
			t.Error("the fingerprint is the beginning of what the store's key is made of")
		}
	})
	t.Run("a fingerprint is no usable id", func(t *testing.T) {
		t.Parallel()
		b, _ := json.Marshal(id)
		var back ID
		if err := json.Unmarshal(b, &back); err == nil && back.shaped() {
			t.Error("a fingerprint reads as a usable id")
		}
	})
}

// TestHashedKey is requirement 9.
func TestHashedKey(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "koa:sess:", strings.Repeat("p", 100), strings.Repeat("p", 200)} {
		for _, n := range []int{1, 32, 128} {
			id := ID(strings.Repeat("x", n))
			sum := sha256.Sum256([]byte(id))
			want := prefix + base64.RawURLEncoding.EncodeToString(sum[:])
			if got := hashedKey(prefix, id); got != want {
				t.Errorf("key of %d characters: %q, want %q", n, got, want)
			}
		}
	}
}
