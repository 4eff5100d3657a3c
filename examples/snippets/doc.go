// Package snippets compiles every block of Go in the README and in docs, and runs
// those that are programs. It has only tests.
package snippets
