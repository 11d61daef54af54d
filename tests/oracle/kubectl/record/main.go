// Tells what JSON kubectl makes of YAML documents, one JSON row each on standard input.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 0, 1<<20), 1<<24)
	for in.Scan() {
		var r struct{ Text string }
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			panic(err)
		}
		out := map[string]string{"text": r.Text, "json": "", "error": ""}
		data, err := yaml.YAMLToJSON([]byte(r.Text))
		var v map[string]interface{}
		if err == nil {
			err = utiljson.Unmarshal(data, &v)
		}
		if err != nil {
			out["error"] = err.Error()
		} else {
			b, _ := json.Marshal(v)
			out["json"] = string(b)
		}
		line, _ := json.Marshal(out)
		fmt.Println(string(line))
	}
}
