// Tells of each name on standard input whether one release of Kaito lists it as an instance type, and whether the
// webhook on Azure takes it. `listed` is `pkg/sku` of the release itself, copied beside this file as package sku.
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"

	"instances/sku"
)

type row struct {
	Name     string `json:"name"`
	Listed   bool   `json:"listed"`
	Admitted bool   `json:"admitted"`
}

// admitted is the condition of validateCreateWithInference: HasSKUNamePrefix from v0.10 on, strings.HasPrefix before.
func admitted(name string, anyCase bool) bool {
	prefixes := []string{"Standard_N", "Standard_D"}
	for _, prefix := range prefixes {
		if strings.HasPrefix(name, prefix) || anyCase && strings.HasPrefix(strings.ToLower(name), strings.ToLower(prefix)) {
			return true
		}
	}
	return false
}

func main() {
	anyCase := len(os.Args) > 1 && os.Args[1] == "any-case"
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for in.Scan() {
		listed := false
		for _, cloud := range []string{"azure", "aws", "arc"} {
			listed = listed || sku.GetCloudSKUHandler(cloud).GetGPUConfigBySKU(in.Text()) != nil
		}
		if err := out.Encode(row{in.Text(), listed, listed || admitted(in.Text(), anyCase)}); err != nil {
			panic(err)
		}
	}
}
