package sign

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
)

// Blob signs a file's bytes, whatever they are, as cosign sign-blob does. What the
// signature means is for whoever reads the file to know: it makes no claim about an
// image.
func Blob(k Key, blob []byte) ([]byte, error) {
	if k.Zero() {
		return nil, errors.New("sign file: no key")
	}
	sig, err := k.signer.SignMessage(bytes.NewReader(blob))
	if err != nil {
		return nil, fmt.Errorf("sign file: %w", err)
	}
	sum := sha256.Sum256(blob)
	return write(&protobundle.Bundle{
		VerificationMaterial: material(k.hint()),
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
			Signature:     sig,
		}},
	})
}
