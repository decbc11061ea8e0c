package faults

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHTTP_Hit_FirstMatchApplied(t *testing.T) {
	t.Parallel()
	var h HTTP
	h.MustAdd(Fault{Method: "put", Status: 500}, Fault{Path: "/a", Status: 502, Every: 2, Count: 2},
		Fault{Path: "/a", Status: 503, Count: 1})
	for i, want := range []int{503, 502, 0, 502, 0, 0} {
		if got := h.Hit("GET", "/a/b").Status; got != want {
			t.Errorf("call %d: status %d, want %d", i, got, want)
		}
	}
	if got := h.Hit("PUT", "/b").Status; got != 500 || len(h.List()) != 1 {
		t.Errorf("status %d, remaining faults %+v", got, h.List())
	}
	h.Clear()
	if got := h.Hit("PUT", "/b"); got != (Fault{}) {
		t.Errorf("after clear: %+v", got)
	}
}

func TestSet_Add_InvalidAndTooManyRejected(t *testing.T) {
	t.Parallel()
	var s Set[Fault]
	for says, f := range map[string]Fault{
		"not an error status": {Status: 200},
		"exclude":             {Status: 500, Spoil: Cut},
		`"poem" is unknown`:   {Spoil: "poem"},
		"does nothing":        {Count: 1},
		"out of range":        {DelayMS: MaxDelayMS + 1},
		"negative":            {Status: 500, Every: -1},
	} {
		if err := s.Add(Fault{Status: 500}, f); err == nil || !strings.Contains(err.Error(), says) || len(s.List()) != 0 {
			t.Errorf("%+v: %v, set %+v", f, err, s.List())
		}
	}
	for range maxFaults {
		s.MustAdd(Fault{Status: 500})
	}
	if s.Add(Fault{Status: 500}) == nil {
		t.Error("no error for more than maxFaults faults")
	}
}

func TestFault_Write_SpoilsTheAnswer(t *testing.T) {
	t.Parallel()
	for spoil, want := range map[Spoil]string{"": "0123456789", Truncated: "01234", HTML: "<!doctype",
		Nonsense: `"answers": 42`} {
		w := httptest.NewRecorder()
		Fault{Spoil: spoil}.Write(w, nil, http.StatusOK, []byte("0123456789"))
		if !strings.HasPrefix(w.Body.String(), want) && spoil != Nonsense || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q: %s", spoil, w.Body)
		}
	}
}
