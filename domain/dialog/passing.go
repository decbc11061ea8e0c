package dialog

// passing calls the tool of a brief workflow at once, if the message contains all its input: once for
// each order that it names. The outcome must be final: the workflow cannot ask a question.
func (t *talk) passing(def *Workflow) bool {
	if !def.Brief || t.act.Text == "" {
		return false
	}
	orders := t.orders
	if orders == nil {
		orders = orderNumbers(t.act.Text)
	}
	if len(orders) == 0 {
		orders = []string{""}
	}
	var calls []ToolCall
	for _, order := range orders {
		call, ok := t.aside(def, order)
		if !ok {
			return false
		}
		calls = append(calls, call)
	}
	t.turn.Asides = append(t.turn.Asides, calls...)
	return true
}

// aside is the call of a brief workflow's tool about one order; false if the message does not contain
// all of its input.
func (t *talk) aside(def *Workflow, order string) (ToolCall, bool) {
	data := map[string]string{}
	for step := &def.Steps[0]; step != nil; {
		switch {
		case step.Ask != nil:
			found := order
			if step.Ask.Check != CheckOrderNumber {
				found = step.Ask.Check.find(t.act.Text)
			}
			if found == "" || len(data) > len(def.Steps) {
				return ToolCall{}, false
			}
			data[step.Ask.Field] = found
			step = def.step(step.Ask.Next.Step)
		case step.Call != nil && t.Tools[step.Call.Tool] && !Toolbox[step.Call.Tool].Writes && step.Call.ends():
			return ToolCall{step.Call.Tool, step.Call.input(data), &Question{def.Name, step.Name, data}}, true
		default:
			return ToolCall{}, false
		}
	}
	return ToolCall{}, false
}

// ends reports whether whatever a tool answers ends the workflow.
func (c *Call) ends() bool {
	for _, one := range c.Cases {
		if !one.Next.Step.Ended() {
			return false
		}
	}
	return c.Failed.Step == "" || c.Failed.Step.Ended()
}

func (c *Call) input(data map[string]string) map[string]string {
	input := map[string]string{}
	for name, value := range c.Input {
		if value = fill(value, data); value != "" {
			input[name] = value
		}
	}
	return input
}

// Reply is what a customer is told whose question was asked in passing, or the person
// who sees to it because the tool failed.
func (q Question) Reply(c Context, output map[string]string, failed bool, at Act) Turn {
	c.Run = Run{Workflow: q.Workflow, Step: q.Step, Data: q.Data}
	turn := Returned(c, output, failed, at)
	turn.Moves = nil
	return turn
}
