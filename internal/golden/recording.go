package golden

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gensession/gensession/core"
)

// rules are the vectors of the recording with the rules that each shows, which
// its subtest is named by.
var rules = map[string]string{
	"defaults":                    "K1 K2 K4 K6 K16 K17 K20 K21 K22 K23",
	"custom-key-prefix":           "K5 K36",
	"empty-prefix-and-key":        "K1 K36",
	"repeated":                    "K32",
	"cookie-maxage-1500":          "K3 K37",
	"cookie-maxage-undefined":     "K19",
	"ttl-number":                  "K37",
	"ttl-function-undefined":      "K3 K37",
	"session-maxage":              "K3 K25 K37",
	"session-expires-no-maxage":   "K3 K25 K37 K38",
	"key-rotation-read":           "K12",
	"key-rotation-change":         "K7 K12",
	"key-rotation-no-overwrite":   "K7 K12",
	"unknown-id":                  "K17 K20",
	"unsigned-no-keys":            "K4 K6",
	"unsigned-no-keys-unknown-id": "K17",
	"regenerate-copy-more":        "K28",
	"regenerate-new":              "K28",
	"cookie-samesite-true":        "K2 K19",
	"secure-auto":                 "K6 K8",
	"secure-true-over-https":      "K8",
	"stored-cookie-rules":         "K25",
	"httponly-switch":             "K22 K25",
	"session-save":                "K26",
	"save-session":                "K29",
	"valid-hook":                  "K18",
	"before-save-hook":            "K23",
	"forced-session-id":           "K31",
	"store-get-error":             "K16 K40",
	"store-set-error":             "K23 K27 K28 K41 K42",
	"store-set-error-swallowed":   "K41",
	"stored-garbage":              "K39",
	"json-values":                 "K22 K38",
	"defer":                       "K17 K46 K48",
	"defer-rolling":               "K24 K49",
	"defer-regenerate":            "K28 K46",
	"defer-store-error":           "K40 K41 K46",
}

// The recording. Reading it refuses members that are not here, so that nothing
// in it goes unlooked at.
type vector struct {
	Name        string
	Description string
	Clock       string
	Options     options
	App         struct {
		Keys     []string
		Proxy    bool
		Catch    bool // of no meaning here: errors are compared as errors
		ForceSid bool
		Twice    *options
	}
	Steps []step
}

type options struct {
	Key        *string
	Prefix     *string
	TTL        any // a number or a function
	Cookie     map[string]any
	Rolling    bool
	Defer      bool
	Valid      *function
	BeforeSave *function

	ErrorHandler *function
}

type function struct {
	Name string `json:"$function"`
}

type step struct {
	Note    string
	Request struct {
		Method      string
		Path        string
		PathDecoded string `json:"path_decoded"`
		Headers     map[string]string
		Cookie      *string
	}
	ClockMS  int64 `json:"clock_ms"`
	Response struct {
		Status     int
		Body       string
		SetCookie  []string `json:"set_cookie"`
		Signatures []any    // said by SetCookie, too
	}
	Before        []Record   `json:"redis_before"`
	Commands      [][]string `json:"redis_commands"`
	After         []Record   `json:"redis_after"`
	RefusesWrites bool       `json:"redis_refuses_writes"`
	AppErrors     []struct {
		Name, Message string
	} `json:"app_errors"`
	HandlerCalls []struct {
		Type, Message string
	} `json:"error_handler_calls"`
}

func read(t *testing.T, file string) []vector {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var recording struct{ Vectors json.RawMessage }
	if err := json.Unmarshal(text, &recording); err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	d := json.NewDecoder(bytes.NewReader(recording.Vectors))
	d.DisallowUnknownFields()
	if err := d.Decode(&vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) != len(rules) {
		t.Fatalf("the recording has %d vectors, %d are expected", len(vectors), len(rules))
	}
	return vectors
}

// failure is what Redis said to the original, "" for nothing bad. Whatever
// became of it, the step shows its text somewhere.
func (s *step) failure() string {
	texts := []string{s.Response.Body}
	for _, c := range s.HandlerCalls {
		texts = append(texts, c.Message)
	}
	for _, e := range s.AppErrors {
		texts = append(texts, e.Message)
	}
	i := slices.IndexFunc(texts, func(text string) bool { return classOf(text) != nil })
	if i < 0 {
		return ""
	}
	return texts[i]
}

// classOf returns the class that an error of Redis has here, nil if text is
// none that the recording has.
func classOf(text string) error {
	switch code, _, _ := strings.Cut(text, " "); code {
	case "WRONGTYPE":
		return core.ErrCorrupt
	case "NOREPLICAS":
		return core.ErrRefused
	}
	return nil
}

var frozenID = regexp.MustCompile(`frozen-sid-\d{21}`)

// newIDs are the ids that a step shows after the request and not before it.
func (s *step) newIDs() []string {
	before, after := "", s.Response.Body+strings.Join(s.Response.SetCookie, "\n")
	if s.Request.Cookie != nil {
		before = *s.Request.Cookie
	}
	for _, r := range s.Before {
		before += "\n" + r.Key
	}
	for _, r := range s.After {
		after += "\n" + r.Key
	}
	ids := frozenID.FindAllString(after, -1)
	slices.Sort(ids)
	return slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return strings.Contains(before, id) })
}
