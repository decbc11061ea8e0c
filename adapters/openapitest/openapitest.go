// Package openapitest checks an HTTP API against its OpenAPI document, strictly: an answer that
// is not documented is an error, and so is a documented answer that never occurred.
package openapitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Schema is the part of JSON Schema that our documents use.
type Schema struct {
	Ref         string            `yaml:"$ref"`
	Type        string            `yaml:"type"`
	Format      string            `yaml:"format"`
	Pattern     string            `yaml:"pattern"`
	Description string            `yaml:"description"`
	Examples    []string          `yaml:"examples"`
	Default     any               `yaml:"default"`
	Enum        []string          `yaml:"enum"`
	Required    []string          `yaml:"required"`
	Properties  map[string]Schema `yaml:"properties"`
	Items       *Schema           `yaml:"items"`
	Others      *Schema           `yaml:"additionalProperties"` // of any name
	Minimum     *float64          `yaml:"minimum"`
	Maximum     *float64          `yaml:"maximum"`
	MinLength   int               `yaml:"minLength"` // in characters, as MaxLength
	MaxLength   int               `yaml:"maxLength"` // 0: no limit, as for MaxItems
	MinItems    int               `yaml:"minItems"`
	MaxItems    int               `yaml:"maxItems"`
}

// Content maps each content type to its schema.
type Content map[string]struct{ Schema Schema }

// Response is the documented response of a status.
type Response struct {
	Ref     string `yaml:"$ref"`
	Headers map[string]struct{ Required bool }
	Content Content
}

// Operation is a method of a path. The keys of Responses are statuses, or classes such as 5XX.
type Operation struct {
	RequestBody struct{ Content Content } `yaml:"requestBody"`
	Responses   map[string]Response
}

// Contract is a document, and the parts of it that occurred in answers.
type Contract struct {
	Paths      map[string]map[string]Operation
	Components struct {
		Schemas   map[string]Schema
		Responses map[string]Response
	}
	answered map[string]bool // statuses of operations
	seen     map[string]bool // properties of schemas
}

const (
	schemaRef   = "#/components/schemas/"
	responseRef = "#/components/responses/"
)

// Read reads a document. A keyword in its schemas that Schema does not know fails the test: it
// would not be checked.
func Read(t testing.TB, path string) *Contract {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &Contract{answered: map[string]bool{}, seen: map[string]bool{}}
	if err := yaml.Unmarshal(text, c); err != nil {
		t.Fatal(err)
	}
	var whole struct {
		Components struct{ Schemas yaml.Node }
	}
	if err := yaml.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	schemas, err := yaml.Marshal(&whole.Components.Schemas)
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(schemas))
	decoder.KnownFields(true)
	if err := decoder.Decode(&c.Components.Schemas); err != nil {
		t.Fatalf("%s: a keyword of JSON Schema that Schema does not have: %v", path, err)
	}
	return c
}

// Operations returns the operations by method and path: "GET /me".
func (c *Contract) Operations() map[string]Operation {
	all := map[string]Operation{}
	for path, methods := range c.Paths {
		for method, o := range methods {
			all[strings.ToUpper(method)+" "+path] = o
		}
	}
	return all
}

// Answer checks an operation's answer against the contract. The errors begin with at.
func (c *Contract) Answer(t testing.TB, at, operation string, w *httptest.ResponseRecorder) {
	t.Helper()
	status, documented, found := c.response(c.Operations()[operation], w.Code)
	if !found {
		t.Errorf("%s is not documented", at)
		return
	}
	c.answered[operation+" "+status] = true
	for name, header := range documented.Headers {
		if header.Required && w.Header().Get(name) == "" {
			t.Errorf("%s lacks the header %s", at, name)
		}
	}
	if len(documented.Content) > 0 || w.Body.Len() > 0 {
		c.Body(t, at, w.Header().Get("Content-Type"), documented.Content, w.Body.Bytes())
	}
}

// response returns the documented response of a status, or that of its class.
func (c *Contract) response(o Operation, status int) (key string, r Response, found bool) {
	for _, key := range []string{fmt.Sprint(status), fmt.Sprintf("%dXX", status/100)} {
		if r, found := o.Responses[key]; found {
			if name, isRef := strings.CutPrefix(r.Ref, responseRef); isRef {
				r = c.Components.Responses[name]
			}
			return key, r, true
		}
	}
	return "", Response{}, false
}

// Body checks a body against the schema of its content type.
func (c *Contract) Body(t testing.TB, at, contentType string, documented Content, body []byte) {
	t.Helper()
	one, found := documented[contentType]
	if !found {
		t.Errorf("%s: content type %s is not documented", at, contentType)
		return
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		t.Errorf("%s: %v: %s", at, err, body)
		return
	}
	c.check(t, at, one.Schema, value)
}

func (c *Contract) check(t testing.TB, at string, s Schema, value any) {
	t.Helper()
	if name := s.Named(); name != "" {
		at, s = name, c.Components.Schemas[name]
	}
	valid := false
	switch v := value.(type) {
	case string:
		n := utf8.RuneCountInString(v)
		valid = s.Type == "string" && n >= s.MinLength && (s.MaxLength == 0 || n <= s.MaxLength) &&
			(s.Enum == nil || slices.Contains(s.Enum, v)) && regexp.MustCompile(s.Pattern).MatchString(v) && s.wellFormed(v)
	case bool:
		valid = s.Type == "boolean"
	case float64:
		valid = s.Type == "integer" && v == float64(int64(v)) && (s.Minimum == nil || v >= *s.Minimum) &&
			(s.Maximum == nil || v <= *s.Maximum)
	case []any:
		valid = s.Type == "array" && s.Items != nil && len(v) >= s.MinItems &&
			(s.MaxItems == 0 || len(v) <= s.MaxItems)
		for i := 0; valid && i < len(v); i++ {
			c.check(t, at+"[]", *s.Items, v[i])
		}
	case map[string]any:
		valid = s.Type == "object"
		for _, name := range s.Required {
			if _, has := v[name]; !has {
				t.Errorf("%s lacks %s", at, name)
			}
		}
		for name, one := range v {
			property, documented := s.Properties[name]
			if !documented && s.Others != nil {
				property, documented = *s.Others, true
			}
			if !documented {
				t.Errorf("%s has %s, which is not documented", at, name)
				continue
			}
			c.seen[at+"."+name] = true
			c.check(t, at+"."+name, property, one)
		}
	}
	if !valid {
		t.Errorf("%s: %v is not as documented", at, value)
	}
}

// wellFormed reports whether a text has the schema's format.
func (s Schema) wellFormed(text string) bool {
	var err error
	switch s.Format {
	case "date-time":
		_, err = time.Parse(time.RFC3339, text)
	case "date":
		_, err = time.Parse(time.DateOnly, text)
	case "uri":
		_, err = url.ParseRequestURI(text)
	}
	return err == nil
}

// Named returns the name of the schema that this one refers to; "" when it refers to none.
func (s Schema) Named() string {
	name, isRef := strings.CutPrefix(s.Ref, schemaRef)
	if !isRef {
		return ""
	}
	return name
}

// Shown fails for every status of an operation, and every property of these schemas, that
// occurred in no answer.
func (c *Contract) Shown(t testing.TB, schemas ...string) {
	t.Helper()
	for name, o := range c.Operations() {
		for status := range o.Responses {
			if !c.answered[name+" "+status] {
				t.Errorf("%s: %s is documented and never occurred", name, status)
			}
		}
	}
	for _, name := range schemas {
		for property := range c.Components.Schemas[name].Properties {
			if !c.seen[name+"."+property] {
				t.Errorf("%s.%s is documented and never occurred", name, property)
			}
		}
	}
}
