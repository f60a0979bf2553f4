package check

import (
	"bytes"
	"regexp"

	"github.com/whypull/whypull/agent/podwatch"
)

// source is the text of a document.
type source struct {
	file string // as given
	line int    // first line, from 1
	text []byte
	// lines holds for each image the lines of its fields that are not taken yet.
	lines map[string][]int
}

// lineOf returns the line of the next field with an image; of several with the same
// image each is returned once. It is the document's first line if none is found, as
// with aliases and texts of several lines.
func (s *source) lineOf(image string) int {
	if s.lines == nil {
		s.index()
	}
	lines := s.lines[image]
	if len(lines) == 0 {
		return s.line
	}
	if len(lines) > 1 {
		s.lines[image] = lines[1:]
	}
	return lines[0]
}

// index finds the fields of images and drops the text.
func (s *source) index() {
	field := regexp.MustCompile(`(?:^|[\s{,"'-])(?:image|reference)["']?\s*:\s*["']?([^\s"',{}\[][^\s"',}]*)`)
	s.lines = map[string][]int{}
	number := s.line
	for line := range bytes.Lines(s.text) {
		for _, m := range field.FindAllSubmatch(line, -1) {
			image := podwatch.ImageOf(string(m[1])).Written
			s.lines[image] = append(s.lines[image], number)
		}
		number++
	}
	s.text = nil
}
