// Tells what Kaito's webhook says of URLs or image references, one JSON row each on standard input.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/distribution/reference"
)

type row struct {
	Text    string  `json:"text"`
	Refused *string `json:"refused"`
}

func validateDataSourceURL(dataURL string) error {
	parsedURL, err := url.ParseRequestURI(dataURL)
	if err != nil || parsedURL.Host == "" {
		return fmt.Errorf("invalid data source URL")
	}
	if !strings.EqualFold(parsedURL.Scheme, "http") && !strings.EqualFold(parsedURL.Scheme, "https") {
		return fmt.Errorf("data source URL must use HTTP or HTTPS")
	}
	hostname := strings.ToLower(parsedURL.Hostname())
	if hostname == "localhost" || strings.HasSuffix(hostname, ".localhost") || isMetadataHostname(hostname) {
		return fmt.Errorf("data source URL must not target a local or metadata endpoint")
	}
	address := net.ParseIP(strings.SplitN(hostname, "%", 2)[0])
	if address != nil && (address.IsLoopback() || address.IsPrivate() || address.IsLinkLocalUnicast() || address.IsLinkLocalMulticast()) {
		return fmt.Errorf("data source URL must not target a loopback, private, or link-local address")
	}
	return nil
}

func isMetadataHostname(hostname string) bool {
	switch hostname {
	case "metadata.google.internal", "metadata.google", "instance-data.ec2.internal":
		return true
	default:
		return false
	}
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 0, 1<<20), 1<<24)
	for in.Scan() {
		var r row
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			panic(err)
		}
		var err error
		if os.Args[1] == "url" {
			err = validateDataSourceURL(r.Text)
		} else {
			_, err = reference.ParseDockerRef(r.Text)
		}
		r.Refused = nil
		if err != nil {
			s := err.Error()
			r.Refused = &s
		}
		line, _ := json.Marshal(r)
		fmt.Println(string(line))
	}
}
