package diagnosis

import "testing"

func TestCommentOfHostileWords(t *testing.T) {
	t.Parallel()
	for want, words := range map[string][2]string{
		"# pass regcred of shop":                     {"regcred", "shop"},
		"# pass '$(touch x)' of '`id`'":              {"$(touch x)", "`id`"},
		`# pass ''\'';id;'\''' of 'aid'`:             {"';id;'", "a\nid"},
		"# pass '' of 'a b'":                         {"", "a b"},
		"# pass <tag> of '" + "x" + blankStart + "'": {blank("tag"), "x" + blankStart},
	} {
		if got := Comment("pass %s of %s", words[0], words[1]); got != Printable(want) {
			t.Errorf("%q: %s, want %s", words, got, want)
		}
	}
}
