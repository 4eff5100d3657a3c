//go:build !linux

package jaeger

import "os/exec"

func dieWithParent(*exec.Cmd) {}
