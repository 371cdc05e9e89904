package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// writeModel writes a folder shaped as a published model: a valid safetensors file
// of two small tensors, its config and its tokenizer. It is too small to be of use
// and large enough for every check of a model's signature, format and mount.
func writeModel(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	config, err := json.MarshalIndent(map[string]any{
		"architectures": []string{"TinyForCausalLM"}, "hidden_size": 4, "model_type": "tiny",
		"num_hidden_layers": 1, "torch_dtype": "float32", "vocab_size": 8,
	}, "", "  ")
	if err != nil {
		return err
	}
	words := []string{"<pad>", "<unk>", "the", "agent", "reads", "only", "signed", "bytes"}
	vocab := map[string]int{}
	for i, w := range words {
		vocab[w] = i
	}
	tokenizer, err := json.MarshalIndent(map[string]any{
		"version":       "1.0",
		"pre_tokenizer": map[string]any{"type": "Whitespace"},
		"model":         map[string]any{"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
	}, "", "  ")
	if err != nil {
		return err
	}
	weights, err := safetensors([]tensor{
		{"embed.weight", []int{8, 4}},
		{"head.weight", []int{8, 4}},
	})
	if err != nil {
		return err
	}
	for name, body := range map[string][]byte{
		"config.json":       append(config, '\n'),
		"tokenizer.json":    append(tokenizer, '\n'),
		"model.safetensors": weights,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// tensor is a float32 tensor by name; its values follow from its place.
type tensor struct {
	name  string
	shape []int
}

// safetensors lays tensors out as the format asks: a u64 length, a JSON header
// padded with spaces to eight bytes, then the data without holes.
func safetensors(tensors []tensor) ([]byte, error) {
	var data bytes.Buffer
	entries := []string{`"__metadata__":{"format":"pt"}`}
	for i, t := range tensors {
		begin, n := data.Len(), 1
		for _, d := range t.shape {
			n *= d
		}
		for j := range n {
			value := float32(math.Sin(float64(i*1000 + j)))
			if err := binary.Write(&data, binary.LittleEndian, value); err != nil {
				return nil, err
			}
		}
		shape, err := json.Marshal(t.shape)
		if err != nil {
			return nil, err
		}
		entries = append(entries, fmt.Sprintf(`%q:{"dtype":"F32","shape":%s,"data_offsets":[%d,%d]}`, t.name, shape, begin, data.Len()))
	}
	header := "{" + strings.Join(entries, ",") + "}"
	header += strings.Repeat(" ", (8-len(header)%8)%8)

	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	out = append(out, header...)
	return append(out, data.Bytes()...), nil
}
