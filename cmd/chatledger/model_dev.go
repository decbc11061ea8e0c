package main

import (
	"net/http"

	llmsim "github.com/chatledger/chatledger/adapters/simulators/llm"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/domain/dialog"
)

// fakeModel serves a stand-in for a language model, and tells how a bot asks it.
func fakeModel(address string) (*config.Model, func() error, error) {
	on, err := server.Listen(address, "--model-listen")
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{Handler: llmsim.New(llmsim.Options{}), ReadHeaderTimeout: server.HeaderTimeout}
	go server.Serve(on)
	return &config.Model{URL: "http://" + on.Addr().String() + "/v1", Name: "stand-in", PriceIn: 0.15, PriceOut: 0.6, Use: dialog.AgentAlways}, server.Close, nil
}
