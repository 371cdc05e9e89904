package evidence

import (
	"bytes"
	"encoding/base64"
	"encoding/json"

	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// named turns verificationMaterial.publicKey of the form {rawBytes, keyDetails},
// rawBytes being the base64 of a PEM file, into {hint}, the hint being the name
// of that key. Whatever is not of that form comes back unchanged, for the strict
// parser to judge. The text must be strict JSON.
func named(raw []byte) []byte {
	if !bytes.Contains(raw, []byte(`"keyDetails"`)) {
		return raw
	}
	var outer, material map[string]json.RawMessage
	var old map[string]string
	if json.Unmarshal(raw, &outer) != nil ||
		json.Unmarshal(outer["verificationMaterial"], &material) != nil ||
		json.Unmarshal(material["publicKey"], &old) != nil ||
		len(old) != 2 || old["rawBytes"] == "" || old["keyDetails"] == "" {
		return raw
	}
	text, err := base64.StdEncoding.DecodeString(old["rawBytes"])
	if err != nil {
		return raw
	}
	key, err := trust.ParseKey(text)
	if err != nil {
		return raw
	}
	hint, err := json.Marshal(map[string]string{"hint": key.ID()})
	if err != nil {
		return raw
	}
	material["publicKey"] = hint
	if outer["verificationMaterial"], err = json.Marshal(material); err != nil {
		return raw
	}
	out, err := json.Marshal(outer)
	if err != nil {
		return raw
	}
	return out
}
