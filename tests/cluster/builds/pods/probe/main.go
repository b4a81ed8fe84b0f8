// Probe is what the tests of the cluster run in pods: a server whose answer, log and
// look at the network tell whether the cluster works.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const usage = `usage: probe serve          answer on :8080 with the host name
       probe lookup NAME    print the addresses of a name
       probe fetch URL      print what is there`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "serve":
		return serve()
	case len(arguments) == 2 && arguments[0] == "lookup":
		addresses, err := net.LookupHost(arguments[1])
		fmt.Println(strings.Join(addresses, "\n"))
		return err
	case len(arguments) == 2 && arguments[0] == "fetch":
		return fetch(arguments[1])
	}
	return fmt.Errorf("%s", usage)
}

func serve() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(answer, name)
	})
	fmt.Println("serving on :8080")
	return http.ListenAndServe(":8080", nil)
}

func fetch(url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}
