// Probe is the program that tests of the cluster run in pods: a server whose responses, log and
// network access show whether the cluster works.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const usage = `usage: probe serve PORT     answer with the host name; at /v1/words?count=N&silence=S with N events,
                            S seconds of silence before each
       probe lookup NAME    print the addresses of a name
       probe fetch URL      print what is there
       probe ask COUNT URL [HEADER: VALUE]...
                            ask so often; print a line for each answer: its status and first line`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 2 && arguments[0] == "serve":
		return serve(":" + arguments[1])
	case len(arguments) == 2 && arguments[0] == "lookup":
		addresses, err := net.LookupHost(arguments[1])
		fmt.Println(strings.Join(addresses, "\n"))
		return err
	case len(arguments) == 2 && arguments[0] == "fetch":
		return fetch(arguments[1])
	case len(arguments) >= 3 && arguments[0] == "ask":
		count, err := strconv.Atoi(arguments[1])
		if err != nil {
			return err
		}
		return ask(count, arguments[2], arguments[3:])
	}
	return fmt.Errorf("%s", usage)
}

func serve(address string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(answer, name)
	})
	http.HandleFunc("/v1/words", words)
	fmt.Println("serving on", address)
	return http.ListenAndServe(address, nil)
}

// words is a stream with a pause without data, as of a server without heartbeats.
func words(answer http.ResponseWriter, request *http.Request) {
	query := request.URL.Query()
	count, err := strconv.Atoi(query.Get("count"))
	silence, err2 := strconv.Atoi(query.Get("silence"))
	if err != nil || err2 != nil {
		http.Error(answer, "count and silence are numbers", http.StatusBadRequest)
		return
	}
	answer.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(answer)
	control.Flush()
	for number := range count {
		time.Sleep(time.Duration(silence) * time.Second)
		fmt.Fprintf(answer, "data: %d\n\n", number)
		control.Flush()
	}
	fmt.Fprint(answer, "data: [DONE]\n\n")
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

// ask continues after a failure and prints a line that begins with "failed".
func ask(count int, url string, headers []string) error {
	client := http.Client{Timeout: 5 * time.Second}
	for range count {
		request, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		for _, header := range headers {
			name, value, _ := strings.Cut(header, ":")
			value = strings.TrimSpace(value)
			if strings.EqualFold(name, "host") {
				request.Host = value
			}
			request.Header.Set(name, value)
		}
		response, err := client.Do(request)
		if err != nil {
			fmt.Println("failed", err)
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			fmt.Println("failed", err)
			continue
		}
		line, _, _ := strings.Cut(string(body), "\n")
		fmt.Println(response.StatusCode, line)
	}
	return nil
}
