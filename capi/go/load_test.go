// SPDX-License-Identifier: Apache-2.0

package streamer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests load a real checkpoint: STREAMER_TEST_CHECKPOINT is its folder, and STREAMER_TEST_URI (optional)
// the same one in a store, which the environment says how to reach.

var background = context.Background()

func open(t *testing.T) *Library {
	t.Helper()
	library, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	return library
}

func checkpoint(t *testing.T, uri string) *Checkpoint {
	t.Helper()
	opened, err := open(t).OpenCheckpoint(background, []string{uri}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.Close)
	return opened
}

func folder() string {
	return os.Getenv("STREAMER_TEST_CHECKPOINT")
}

// The disk's, and the store's if there is one.
func uris(t *testing.T) []string {
	if uri := os.Getenv("STREAMER_TEST_URI"); uri != "" {
		return []string{folder(), uri}
	}
	t.Log("SKIPPED: stores: STREAMER_TEST_URI is not set")
	return []string{folder()}
}

// What an ordinary read finds in the files, by name.
func expected(t *testing.T) map[string][]byte {
	opened := checkpoint(t, folder())
	var contents [][]byte
	for _, object := range opened.Objects() {
		content, err := os.ReadFile(object.URI)
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, content)
	}
	found := map[string][]byte{}
	for _, tensor := range opened.Tensors() {
		found[tensor.Name] = contents[tensor.Object][tensor.ObjectOffset:][:tensor.Bytes]
	}
	return found
}

func TestALibraryThatIsNotOpenSaysSo(t *testing.T) {
	if opening.isOpen { // by another test: the same one in a process of its own
		output, err := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$").CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, output)
		}
		return
	}
	library := &Library{}
	if text := library.Version() + library.BuildInfo(); text != "" {
		t.Error(text)
	}
	_, opened := library.OpenCheckpoint(background, []string{folder()}, Settings{"memory_limit": "1GiB"})
	_, listed := library.List(background, folder(), nil)
	_, local := library.Snapshot(background, folder(), nil)
	for _, err := range []error{opened, listed, local} {
		var failure *Error
		if !errors.As(err, &failure) || failure.Kind != Unsupported ||
			!strings.Contains(err.Error(), "call streamer.Open") {
			t.Error(err)
		}
	}
}

func TestEveryByteOfEveryTensorIsTheFiles(t *testing.T) {
	files := expected(t)
	for _, uri := range uris(t) {
		for _, inOrder := range []bool{false, true} {
			load, err := checkpoint(t, uri).Load(background, LoadOptions{InStorageOrder: inOrder})
			if err != nil {
				t.Fatal(err)
			}
			seen := 0
			for load.Next() {
				tensor := load.Tensor()
				if !bytes.Equal(tensor.Bytes(), files[tensor.Name()]) {
					t.Errorf("%s of %s differs", tensor.Name(), uri)
				}
				tensor.Release()
				if tensor.Bytes() != nil || tensor.Size() != 0 {
					t.Error("a released tensor has bytes")
				}
				seen++
			}
			if load.Err() != nil || seen != len(files) || load.Next() {
				t.Errorf("%d of %d tensors of %s, %v", seen, len(files), uri, load.Err())
			}
			load.Close()
		}
	}
}

func TestTensorsOutliveTheirLoadAndGoToOtherGoroutines(t *testing.T) {
	files := expected(t)
	load, err := checkpoint(t, folder()).Load(background, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var tensors []*Tensor
	for load.Next() {
		tensors = append(tensors, load.Tensor())
	}
	if stats := load.Stats(); stats["items_ready"] != uint64(len(files)) {
		t.Error(stats)
	}
	load.Close()
	over := make(chan int)
	go func() {
		right := 0
		for _, tensor := range tensors {
			if bytes.Equal(tensor.Copy(), files[tensor.Name()]) {
				right++
			}
			tensor.Release()
			tensor.Release()
		}
		over <- right
	}()
	if right := <-over; right != len(files) {
		t.Errorf("%d of %d tensors are right", right, len(files))
	}
}

func TestASelectionAndParts(t *testing.T) {
	opened := checkpoint(t, folder())
	whole, err := opened.Find("lm_head.weight")
	if err != nil {
		t.Fatal(err)
	}
	content := expected(t)[whole.Name]
	row := len(content) / int(whole.Shape[0])
	load, err := opened.Load(background, LoadOptions{InStorageOrder: true, Items: []Item{
		{Tensor: whole.Number, Slice: &Slice{0, 2, 5}}, {Tensor: whole.Number, Bytes: &Range{7, 9}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer load.Close()
	seen := 0
	if err = load.Each(func(tensor *Tensor) error {
		want := [][]byte{content[2*row : 5*row], content[7:16]}[tensor.Item()]
		if !bytes.Equal(tensor.Bytes(), want) || tensor.Number() != whole.Number {
			t.Errorf("item %d is wrong", tensor.Item())
		}
		seen++
		return nil
	}); err != nil || seen != 2 {
		t.Error(err, seen)
	}
	for _, row := range []struct {
		options LoadOptions
		count   int
	}{
		{LoadOptions{}, len(opened.Tensors())},
		{LoadOptions{Items: []Item{}}, 0},
		{LoadOptions{Matching: []string{}}, 0},
		{LoadOptions{Matching: []string{}, Items: []Item{{Tensor: whole.Number}}}, 1},
		{LoadOptions{Matching: []string{whole.Name}, Items: []Item{}}, 1},
	} {
		load, err := opened.Load(background, row.options)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		if err = load.Each(func(*Tensor) error { seen++; return nil }); err != nil || seen != row.count {
			t.Errorf("%d tensors of %#v: %v", seen, row.options, err)
		}
		load.Close()
	}
	_, err = opened.Load(background, LoadOptions{Matching: []string{"nothing*"}})
	if !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
}

func TestErrorsAreThoseOfTheLanguage(t *testing.T) {
	_, err := open(t).OpenCheckpoint(background, []string{"/nowhere/at/all"}, nil)
	var failure *Error
	if !errors.As(err, &failure) || failure.Kind != NotFound || failure.URI != "/nowhere/at/all" ||
		failure.Attempts == 0 {
		t.Fatalf("%#v", err)
	}
	if !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, syscall.ENOENT) || errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
	_, err = open(t).OpenCheckpoint(background, []string{folder()},
		Settings{"s3_credentials": "keys:ID:CANARY", "memory_limit": "lots"})
	if !errors.As(err, &failure) || failure.Kind != InvalidArgument ||
		!strings.Contains(err.Error(), "memory_limit") || strings.Contains(err.Error(), "CANARY") {
		t.Error(err)
	}
	if _, err = Open("/nowhere/libstreamer.so"); !errors.As(err, &failure) || failure.Kind != Unsupported {
		t.Error(err)
	}
}

func isInvalid(err error, text string) bool {
	return errors.Is(err, fs.ErrInvalid) && strings.Contains(err.Error(), text)
}

func TestItemsThatCannotBeAreRefused(t *testing.T) {
	opened := checkpoint(t, folder())
	for text, item := range map[string]Item{
		"has Tensor -1":         {Tensor: -1},
		"both Slice and Bytes":  {Slice: &Slice{0, 0, 1}, Bytes: &Range{0, 1}},
		"Dimension -4294967296": {Slice: &Slice{-1 << 32, 0, 1}},
		"Dimension 4294967296":  {Slice: &Slice{1 << 32, 0, 1}},
	} {
		load, err := opened.Load(background, LoadOptions{Items: []Item{{}, item}})
		if err == nil {
			load.Close()
		}
		if !isInvalid(err, text) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestTextsWithANULAreRefused(t *testing.T) {
	library, opened, cut := open(t), checkpoint(t, folder()), folder()+"\x00more"
	load := func(options LoadOptions) error {
		load, err := opened.Load(background, options)
		if err == nil {
			load.Close()
		}
		return err
	}
	_, path := Open(os.Getenv("STREAMER_LIBRARY") + "\x00more")
	_, uris := library.OpenCheckpoint(background, []string{folder(), cut}, nil)
	_, uri := library.List(background, cut, nil)
	_, all := library.ListAll(background, cut, nil)
	_, local := library.Snapshot(background, cut, nil)
	_, value := library.List(background, folder(), Settings{"s3_credentials": "anonymous\x00CANARY"})
	_, name := library.List(background, folder(), Settings{"s3_credentials\x00more": "anonymous"})
	for _, row := range []struct {
		err  error
		text string
	}{
		{path, "path"}, {uris, "uris[1]"}, {uri, "uri"}, {all, "uri"}, {local, "uri"},
		{value, "the value of s3_credentials"}, {name, "a setting's name"},
		{load(LoadOptions{Matching: []string{"*", "*\x00more"}}), "Matching[1]"},
		{load(LoadOptions{Device: "host\x00more"}), "Device"},
	} {
		if !isInvalid(row.err, row.text+" contains a NUL") || strings.Contains(row.err.Error(), "CANARY") {
			t.Errorf("%s: %v", row.text, row.err)
		}
	}
	if _, err := opened.Find("lm_head.weight\x00more"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// Slow enough that whoever waits for its end waits in vain.
var slow = LoadOptions{Settings: Settings{"max_bandwidth": "64KiB"}}

func TestAContextEndsALoad(t *testing.T) {
	ctx, cancel := context.WithCancel(background)
	load, err := checkpoint(t, folder()).Load(ctx, slow)
	if err != nil {
		t.Fatal(err)
	}
	defer load.Close()
	go cancel()
	err = load.Each(func(*Tensor) error { return nil })
	var failure *Error
	if !errors.As(err, &failure) || failure.Kind != Cancelled || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if load.Next() {
		t.Error("a cancelled load goes on")
	}
	if _, err = checkpoint(t, folder()).Load(ctx, LoadOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func hasTimedOut(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.Kind == TimedOut && errors.Is(err, context.DeadlineExceeded) &&
		strings.Contains(err.Error(), "the context's deadline passed") &&
		strings.Contains(err.Error(), failure.Message)
}

func TestADeadlineThatPassedIsATimeout(t *testing.T) {
	opened := checkpoint(t, folder())
	ctx, cancel := context.WithTimeout(background, 200*time.Millisecond)
	defer cancel()
	load, err := opened.Load(ctx, slow)
	if err != nil {
		t.Fatal(err)
	}
	defer load.Close()
	err = load.Each(func(*Tensor) error { return nil })
	var failure *Error
	if !hasTimedOut(err) || !errors.As(err, &failure) || failure.Elapsed == 0 {
		t.Error(err)
	}
	if _, err = opened.Load(ctx, slow); !hasTimedOut(err) {
		t.Error(err)
	}
	if _, err = open(t).List(ctx, folder(), nil); !hasTimedOut(err) {
		t.Error(err)
	}
}

func isClosed(err error, what string) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.Kind == InvalidArgument &&
		err.Error() == "the "+what+" is closed"
}

func TestAClosedLoadEnds(t *testing.T) {
	load, err := checkpoint(t, folder()).Load(background, slow)
	if err != nil {
		t.Fatal(err)
	}
	load.Close()
	load.Close()
	load.Cancel()
	if load.Next() || !isClosed(load.Err(), "load") {
		t.Error("a closed load goes on", load.Err())
	}
	if total := load.Stats()["items_total"]; total == 0 {
		t.Error("the last stats are lost")
	}
}

func TestAClosedCheckpointIsEmpty(t *testing.T) {
	opened := checkpoint(t, folder())
	load, err := opened.Load(background, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer load.Close()
	count := len(opened.Tensors())
	opened.Close()
	opened.Close()
	if len(opened.Tensors()) != 0 || len(opened.Objects()) != 0 || opened.Bytes() != 0 || opened.Notes() != "" {
		t.Error("a closed checkpoint has something")
	}
	if _, err := opened.Find("lm_head.weight"); !isClosed(err, "checkpoint") {
		t.Error(err)
	}
	if _, err := opened.Load(background, LoadOptions{}); !isClosed(err, "checkpoint") {
		t.Error(err)
	}
	seen := 0
	if err := load.Each(func(*Tensor) error { seen++; return nil }); err != nil || seen != count {
		t.Error(seen, err)
	}
}

func TestALoadThatNobodyHasIsClosed(t *testing.T) {
	files := expected(t)
	opened := checkpoint(t, folder())
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	start := func() *Tensor {
		load, err := opened.Load(ctx, slow)
		if err != nil {
			t.Fatal(err)
		}
		if !load.Next() {
			t.Fatal(load.Err())
		}
		return load.Tensor()
	}
	descriptors := func() int {
		found, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	// Collects until a count is as before.
	wait := func(count func() int, before int) {
		for deadline := time.Now().Add(30 * time.Second); count() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d before, then %d", before, count())
			}
			runtime.GC()
		}
	}
	goroutines, open := runtime.NumGoroutine(), descriptors()
	var tensors []*Tensor
	for i := 0; i < 5; i++ {
		tensors = append(tensors, start())
	}
	wait(runtime.NumGoroutine, goroutines)
	for _, tensor := range tensors {
		if !bytes.Equal(tensor.Bytes(), files[tensor.Name()]) {
			t.Errorf("%s differs", tensor.Name())
		}
		tensor.Release()
	}
	wait(descriptors, open)
}

func TestOtherGoroutinesMayClose(t *testing.T) {
	for i := 0; i < 20; i++ {
		opened := checkpoint(t, folder())
		load, err := opened.Load(background, slow)
		if err != nil {
			t.Fatal(err)
		}
		var others sync.WaitGroup
		for _, use := range []func(){load.Close, load.Close, opened.Close, func() { load.Stats() },
			func() { opened.Tensors(); opened.Objects(); opened.Bytes(); opened.Notes() },
			func() {
				if i%2 == 0 {
					load.Cancel()
				}
			}} {
			use := use
			others.Add(1)
			go func() {
				defer others.Done()
				use()
			}()
		}
		err = load.Each(func(*Tensor) error { return nil })
		if i%2 == 1 && !isClosed(err, "load") {
			t.Error(err)
		}
		others.Wait()
	}
}

func TestAContextEndsACall(t *testing.T) {
	ctx, cancel := context.WithCancel(background)
	cancel()
	if _, err := open(t).List(ctx, folder(), nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// A store that never answers: accepted by the kernel, read by nobody.
	listener, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(listener)
	if err = syscall.Bind(listener, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = syscall.Listen(listener, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	name, _ := syscall.Getsockname(listener)
	endpoint := fmt.Sprintf("http://127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	ctx, cancel = context.WithTimeout(background, 50*time.Millisecond)
	defer cancel()
	_, err = open(t).OpenCheckpoint(ctx, []string{"s3://bucket/m"}, Settings{
		"s3_endpoint": endpoint, "s3_credentials": "anonymous", "stall_timeout_ms": "600000"})
	if !hasTimedOut(err) {
		t.Error(err)
	}
}

func TestWhatElseAStoreHas(t *testing.T) {
	for _, uri := range uris(t) {
		entries, err := open(t).List(background, uri, nil)
		if err != nil || len(entries) < 2 {
			t.Fatal(entries, err)
		}
		all, err := open(t).ListAll(background, uri, nil)
		if err != nil || len(all) != len(entries) {
			t.Error(all, err)
		}
	}
	if local, err := open(t).Snapshot(background, folder(), nil); err != nil || local != folder() {
		t.Error(local, err)
	}
	if info := open(t).BuildInfo(); !strings.HasPrefix(info, "curl: ") {
		t.Error(info)
	}
	if opened := checkpoint(t, folder()); opened.Notes() != "" || opened.Bytes() == 0 {
		t.Error(opened.Notes())
	}
}
