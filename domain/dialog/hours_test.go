package dialog_test

import (
	"testing"
	"time"
	_ "time/tzdata" // the places are the same wherever the test runs

	"pgregory.net/rapid"

	"github.com/chatledger/chatledger/domain/dialog"
)

// office works from Monday to Friday, 9 to 17 o'clock with an hour off at noon, and on
// Saturday morning.
func office(t testing.TB, place string) dialog.Hours {
	day := []dialog.Shift{{From: 9 * time.Hour, To: 12 * time.Hour}, {From: 13 * time.Hour, To: 17 * time.Hour}}
	return dialog.Hours{
		Zone: zone(t, place),
		Weekdays: [7][]dialog.Shift{
			1: day, 2: day, 3: day, 4: day, 5: day, 6: {{From: 9 * time.Hour, To: 11*time.Hour + 30*time.Minute}},
		},
		Holidays: map[string]bool{"2026-12-25": true, "2026-12-26": true, "2027-01-01": true},
	}
}

// night works from 0 to 6 o'clock every day, and so through every change of the clock.
func night(t testing.TB, place string) dialog.Hours {
	h := dialog.Hours{Zone: zone(t, place)}
	for day := range h.Weekdays {
		h.Weekdays[day] = []dialog.Shift{{From: 0, To: 6 * time.Hour}}
	}
	return h
}

func zone(t testing.TB, place string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(place)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestHours_Due_CountsWorkingHours(t *testing.T) {
	t.Parallel()
	berlin, havana := office(t, "Europe/Berlin"), night(t, "America/Havana")
	never := dialog.Hours{
		Weekdays: [7][]dialog.Shift{1: {{From: 9 * time.Hour, To: 10 * time.Hour}}}, Holidays: map[string]bool{},
	}
	for day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 2029; day = day.AddDate(0, 0, 1) {
		never.Holidays[day.Format(time.DateOnly)] = true
	}
	for name, c := range map[string]struct {
		hours  dialog.Hours
		at     string
		worked time.Duration
		want   string
	}{
		"without hours it is always": {
			dialog.Hours{}, "2026-07-04 23:30", 4 * time.Hour, "2026-07-05 03:30",
		},
		"within a shift":         {berlin, "2026-07-01 09:10", time.Hour, "2026-07-01 10:10"},
		"nothing is due at once": {berlin, "2026-07-05 03:00", 0, "2026-07-05 03:00"},
		"up to the last minute":  {berlin, "2026-07-01 11:00", time.Hour, "2026-07-01 12:00"},
		"over noon":              {berlin, "2026-07-01 11:30", time.Hour, "2026-07-01 13:30"},
		"in the break":           {berlin, "2026-07-01 12:20", time.Hour, "2026-07-01 14:00"},
		"before the morning":     {berlin, "2026-07-01 03:00", 15 * time.Minute, "2026-07-01 09:15"},
		"over night":             {berlin, "2026-07-01 16:45", time.Hour, "2026-07-02 09:45"},
		// 1 h, 2.5 h on Saturday
		"over the weekend":  {berlin, "2026-07-03 16:00", 4 * time.Hour, "2026-07-06 09:30"},
		"on Sunday":         {berlin, "2026-07-05 12:00", 8 * time.Hour, "2026-07-07 10:00"},
		"over the holidays": {berlin, "2026-12-24 16:00", 2 * time.Hour, "2026-12-28 10:00"},
		"on a holiday":      {berlin, "2026-12-25 10:00", time.Hour, "2026-12-28 10:00"},
		"the clock goes forward in a shift": {
			night(t, "Europe/Berlin"), "2026-03-29 01:00", 3 * time.Hour, "2026-03-29 05:00",
		},
		"the clock goes back in a shift": {
			night(t, "Europe/Berlin"), "2026-10-25 00:00", 4 * time.Hour, "2026-10-25 03:00",
		},
		// 7 h are worked
		"that day is as long as it is": {
			night(t, "Europe/Berlin"), "2026-10-25 00:00", 8 * time.Hour, "2026-10-26 01:00",
		},
		"a change over the weekend is no matter": {berlin, "2026-03-27 17:00", 3 * time.Hour, "2026-03-30 09:30"},
		// 1 h, and 5 h from 1 o'clock on
		"a day without a midnight":    {havana, "2026-03-07 05:00", 6 * time.Hour, "2026-03-08 06:00"},
		"the days behind it":          {havana, "2026-03-08 05:00", 2 * time.Hour, "2026-03-09 01:00"},
		"closed for more than a year": {never, "2026-07-01 12:00", time.Hour, "2027-07-02 13:00"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := c.hours.Zone
			if place == nil {
				place = time.UTC
			}
			at, err := time.ParseInLocation("2006-01-02 15:04", c.at, place)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.hours.Add(at, c.worked).In(place).Format("2006-01-02 15:04"); got != c.want {
				t.Errorf("%s of work from %s: %s, want %s", c.worked, c.at, got, c.want)
			}
		})
	}
}

func TestHours_Open_FirstToLastMinuteOfShift(t *testing.T) {
	t.Parallel()
	berlin := office(t, "Europe/Berlin")
	for at, want := range map[string]bool{
		"2026-07-01T06:59:59Z": false, "2026-07-01T07:00:00Z": true, "2026-07-01T09:59:59Z": true,
		"2026-07-01T10:00:00Z": false,
		"2026-07-01T15:00:00Z": false, "2026-12-25T10:00:00Z": false, "2026-07-05T10:00:00Z": false,
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := berlin.Open(when); got != want {
			t.Errorf("%s: open %t", at, got)
		}
	}
	if !(dialog.Hours{}).Open(time.Unix(0, 0)) {
		t.Error("without hours it is always")
	}
}

// More work is never done sooner, nor is what begins later; and all is done at work.
func TestHours_Due_OrderedAndInWorkingHours(t *testing.T) {
	t.Parallel()
	places := []string{
		"UTC", "Europe/Berlin", "Africa/Cairo", "America/Havana", "America/St_Johns", "Australia/Lord_Howe",
		"Asia/Kathmandu", "Pacific/Apia",
	}
	rapid.Check(t, func(t *rapid.T) {
		z, err := time.LoadLocation(rapid.SampledFrom(places).Draw(t, "place"))
		if err != nil {
			t.Fatal(err)
		}
		h := dialog.Hours{Zone: z, Holidays: map[string]bool{}}
		open := false
		for day := range h.Weekdays {
			from := time.Duration(0)
			for range rapid.IntRange(0, 2).Draw(t, "shifts") {
				from += time.Duration(rapid.IntRange(0, 6*60).Draw(t, "from")) * time.Minute
				to := from + time.Duration(rapid.IntRange(30, 6*60).Draw(t, "long"))*time.Minute
				h.Weekdays[day], from, open = append(h.Weekdays[day], dialog.Shift{From: from, To: to}), to, true
			}
		}
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		minute := func(days int, name string) time.Duration {
			return time.Duration(rapid.IntRange(0, days*24*60).Draw(t, name)) * time.Minute
		}
		for range rapid.IntRange(0, 5).Draw(t, "holidays") {
			h.Holidays[start.Add(minute(365, "holiday")).Format(time.DateOnly)] = true
		}
		at, later := start.Add(minute(365, "at")), minute(10, "later")
		worked, more := minute(4, "worked")+time.Minute, minute(4, "more")
		due := h.Add(at, worked)
		if due.Sub(at) < worked {
			t.Fatalf("%s of work from %s: done at %s", worked, at, due)
		}
		if again := h.Add(at, worked+more); again.Before(due) {
			t.Fatalf("%s of work from %s: done at %s, and %s more at %s", worked, at, due, more, again)
		}
		if again := h.Add(at.Add(later), worked); again.Before(due) {
			t.Fatalf("%s of work from %s: done at %s, and begun %s later at %s", worked, at, due, later, again)
		}
		if due.Sub(at) < 300*24*time.Hour && open && !h.Open(due.Add(-time.Nanosecond)) {
			t.Fatalf("%s of work from %s: done at %s, when nobody works", worked, at, due.In(z))
		}
		// a year ends the search
		if half := h.Add(due, more); more > 0 && half.Sub(at) < 300*24*time.Hour &&
			!half.Equal(h.Add(at, worked+more)) {
			t.Fatalf("%s and %s of work from %s: %s apart, %s together", worked, more, at, half,
				h.Add(at, worked+more))
		}
	})
}

func TestHours_EveryPriority_HasDueTimes(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 7, 3, 16, 50, 0, 0, time.UTC)
	k := dialog.Knowledge{
		Hours: office(t, "UTC"), Targets: map[dialog.Priority]dialog.Target{
			dialog.Urgent: {FirstResponse: 5 * time.Minute},
		},
	}
	for _, c := range []struct {
		priority             dialog.Priority
		response, resolution string
	}{
		{dialog.Urgent, "Fri 16:55", "Mon 10:20"}, // its own, and the usual one
		{dialog.High, "Sat 09:50", "Mon 15:20"},
		{dialog.Normal, "Mon 10:20", "Thu 09:20"},
		{dialog.Low, "Thu 09:20", "Fri 13:50"},
	} {
		response, resolution := k.Due(c.priority, at)
		const day = "Mon 15:04"
		if r, s := response.Format(day), resolution.Format(day); r != c.response || s != c.resolution {
			t.Errorf("%s: %s and %s, want %s and %s", c.priority, r, s, c.response, c.resolution)
		}
	}
}
