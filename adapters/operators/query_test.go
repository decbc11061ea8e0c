package operators

import (
	"net/http"
	"strings"
	"testing"
)

// A malformed query is rejected on every route. Otherwise a filter would be dropped silently.
func TestQuery_Malformed_BadRequest(t *testing.T) {
	t.Parallel()
	for _, one := range newOffice().API.routes() {
		for _, query := range []string{"bot=%zz", "bot=shop;status=open", "%zz=1", "limit=1&bot=%"} {
			o := newOffice()
			path := strings.NewReplacer("{chat}", "demo:42", "{bot}", "demo").Replace(one.path)
			r := request(one.method, path, "boss", `{}`)
			r.URL.RawQuery = query
			if w := o.serve(r); w.Code != http.StatusBadRequest {
				t.Errorf("%s %s?%s: %d %s", one.method, path, query, w.Code, w.Body)
			}
		}
	}
}

// A filter without a value is not the same as no filter.
func TestQueue_EmptyFilter_Rejected(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bot", "status", "priority", "assignee", "tag", "overdue", "limit", "after"} {
		newOffice().must(t, request("GET", "/queue?"+name+"=", "boss", ""), http.StatusUnprocessableEntity)
	}
}
