// Command reference translates Butane documents with the reference library and says how long each took.
//
// Standard input is {"rounds": N, "files": DIR, "cases": [{"name": …, "text": base64, "files": whether DIR is given}]},
// standard output {"rounds": [for each round, the nanoseconds of each case], "outputs": [the config of each case]}.
// Each round translates every case once; one more round goes before and does not count.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"
)

type document struct {
	Name  string `json:"name"`
	Text  []byte `json:"text"`
	Files bool   `json:"files"`
}

type request struct {
	Rounds int        `json:"rounds"`
	Files  string     `json:"files"`
	Cases  []document `json:"cases"`
}

type answer struct {
	Rounds  [][]int64 `json:"rounds"`
	Outputs []string  `json:"outputs"`
}

func main() {
	var asked request
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fail(err)
	}
	given := answer{Rounds: [][]int64{}, Outputs: make([]string, len(asked.Cases))}
	for round := 0; round <= asked.Rounds; round++ {
		taken, err := translate(asked, given.Outputs)
		if err != nil {
			fail(err)
		}
		if round > 0 {
			given.Rounds = append(given.Rounds, taken)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(given); err != nil {
		fail(err)
	}
}

// translate goes through all documents once: the time of each in nanoseconds, what came out into outputs.
func translate(asked request, outputs []string) ([]int64, error) {
	taken := make([]int64, len(asked.Cases))
	for index, each := range asked.Cases {
		options := common.TranslateBytesOptions{}
		if each.Files {
			options.FilesDir = asked.Files
		}
		start := time.Now()
		output, _, err := config.TranslateBytes(each.Text, options)
		taken[index] = time.Since(start).Nanoseconds()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", each.Name, err)
		}
		outputs[index] = string(output)
	}
	return taken, nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
