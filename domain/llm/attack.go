package llm

import (
	_ "embed"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/chatledger/chatledger/domain/dialog"
)

// Attacks are looked for in what customers write and in what tools return, before a model
// reads it. They are told by signs: stems of words that stand near each other, one of each
// group. What they are tried on is redteam.txt: attempts, and messages that look like
// attempts and are none. They cannot find every attack; what they miss meets the guards
// on the answer and the customer's button.

//go:embed redteam.txt
var redTeam string

// RedTeam is the shipped list: attempts to make a model do what it must not, and harmless
// messages that look like them.
func RedTeam() (attempts, harmless []string) {
	for line := range strings.Lines(redTeam) {
		line = strings.ReplaceAll(strings.TrimSpace(line), `\n`, "\n")
		if text, ok := strings.CutPrefix(line, "! "); ok {
			attempts = append(attempts, text)
		} else if text, ok := strings.CutPrefix(line, "= "); ok {
			harmless = append(harmless, text)
		}
	}
	return attempts, harmless
}

// sign is a kind of attack: one word of each group within a span of words, and none
// among or shortly before them that makes it harmless.
type sign struct {
	name   string
	span   int // words
	groups [][]string
	unless []string
}

func stems(list string) []string { return strings.Fields(list) }

// Groups of stems, in small letters without marks. A stem that ends in a dot is a whole word.
var (
	overriding = stems(`ignor disregard forget overrid bypass neglect vergiss vergesst missacht
		uebergeh oublie oubliez olvid esquec dimentic vergeet negeer
		zapomnij zignoruj pomin игнорир забуд unut. yoksay zapomen glem ignorera 忽略 忘记 无视 無視 無視し تجاهل
		अनदेखा भूल जाओ`)
	everything = stems(`previous prior preceding above earlier all. any. your everything initial
		original system vorherig bisherig obig alle. allen. deine deinen ihre
		ihren precedent precedente toutes tes. vos. anterior todas todos tus. sus. precedenti tutte tutti
		tue. vorige alle wszystki poprzedni twoje
		предыдущ все. всё. твои onceki tum. butun tidigare 之前 以上 所有 上面 前の これまで السابقة كل पिछले सभी`)
	instructions = stems(`instruct instruk instruc directions prompt rule. rules. regel regeln regl
		reglas regole regras directiv guideline guardrail restriction anweisung
		vorgaben consign istruzion polecen zasad инструкц правил указан talimat kural safety training
		programming 指令 指示 规则 規則 ルール التعليمات निर्देश`)
	theirs = stems(`my. our. delivery courier driver return returns washing care assembly shipping
		meine meinen lieferanweisung paket mes. mis. mie. cooking`)

	revealing = stems(`reveal show print repeat output tell display write dump leak expose disclose
		translate summari recite give share paste copy zeig verrat nenn gib.
		wiederhol ausgeb schreib affich montr repet revel donne muestra muestr repite dime. mostra rivela
		ripeti toon herhaal pokaz powtorz wypisz
		покажи выведи повтори раскрой goster yazdir tekrarla visa. what whats was. 输出 显示 重复 告诉 表示 教えて 出力
		اعرض اكتب दिखाओ बताओ`)
	secret = stems(`system systemprompt hidden secret initial developer original internal underlying
		confidential versteckt geheim intern cache secret oculto segret nascost ukryt скрыт системн gizli
		sistem 系统 システム`)
	secrets = stems(`prompt instruct instruk instruc rule. rules. regel message anweisung
		konfiguration configuration config consign istruzion промпт инструкц talimat mesaj nachricht 提示
		指令 プロンプト`)

	pretending = stems(`pretend act. roleplay simulate imagine behave become you tu. du. sie. vous
		eres sei. ahora jetzt ты. вы. 你 扮演 أنت`)
	unbound = stems(`dan. jailbreak jailbroken unrestricted unfiltered uncensored unlimited evil
		hacker unbeschrankt ungefiltert schrankenlos restricciones restrictions
		limites einschrankung ограничен sinirsiz 没有限制 限制`)
	modes = stems(`developer debug god. sudo. admin root. maintenance dev. entwickler wartung
		mantenimiento administrator unrestricted разработчик`)
	mode     = stems(`mode modus modo tryb режим modu`)
	entering = stems(`enable activate enter switch you are now. start. aktivier wechsle activa active
		attiva wlacz включи перейди etkinlestir turn simulate`)

	without = stems(`without skip bypass omit dont ohne sans. sin. senza zonder bez. без`)
	asking  = stems(`confirm confirmation asking button bestatig nachfrag knopf demander confirmar
		confirmacion preguntar conferma chiedere bevestig potwierdz подтвержд`)
	changing = stems(`refund transfer execute call. run. pay. send update change erstatte aktualisier
		andere. rembours devuelv reembols rimbors terugbetal zwroc верни process issue apply`)
	happened = stems(`was. were. been wurde wurden fue. charged abgebucht did. why warum can. how.`)

	handing = stems(`give show list send tell export dump print display gib. zeig liste schick donne
		montre dame muestra lista dammi elenca pokaz покажи дай. read fetch`)
	others = stems(`other another all. every each andere anderer anderen aller autres otros altri
		innych других всех else`)
	customers = stems(`customer customers client clients kund user users utilisateurs clientes klient
		клиент пользовател people`)
	data = stems(`data order. orders. address addresses email emails detail details information
		record records bestell adress daten donnees commandes datos pedidos direcciones dati ordini dane
		данные адрес заказ`)
	keys = stems(`apikey token tokens credential credentials database env. environment accesskey
		zugangsdaten datenbank`)
	my = stems(`my. our. mein meine mon. mi. parking bus. tracking`)

	authority = stems(`developer administrator admin engineer ceo. openai anthropic staff employee
		entwickler mitarbeiter desarrollador developpeur supervisor разработчик`)
	allowing = stems(`authoriz authoris override unlock entitled permission grant clearance erlaub
		freigabe autoriz autoris bypass разреша`)
)

var signs = []sign{
	{name: "override", span: 9, groups: [][]string{overriding, everything, instructions}, unless: theirs},
	{name: "leak", span: 10, groups: [][]string{revealing, secret, secrets}, unless: theirs},
	{
		name: "leak", span: 6, groups: [][]string{
			revealing, stems(`your. deine ihre tes. vos. tus. tue. твои 你的`),
			stems(`prompt instruct instruk instruc инструкц 提示`),
		}, unless: theirs,
	},
	{name: "role", span: 9, groups: [][]string{pretending, unbound}, unless: nil},
	{name: "role", span: 7, groups: [][]string{entering, modes, mode}, unless: nil},
	{name: "confirmation", span: 12, groups: [][]string{without, changing, asking}, unless: happened},
	{name: "others' data", span: 9, groups: [][]string{handing, others, customers, data}, unless: nil},
	{name: "secrets", span: 8, groups: [][]string{handing, keys}, unless: my},
	{name: "authority", span: 16, groups: [][]string{authority, allowing}, unless: my},
}

// marks are signs that letters alone do not make: the forms in which programs hand a
// model its messages.
var marks = regexp.MustCompile(`(?i)<\|?/?(?:im_start|im_end|system|assistant|endoftext|instructions?|` +
	`tool_result|tool_call)\b|\[/?(?:INST|SYS|SYSTEM)\]|` +
	`(?m)^\s*#{1,4}\s*(?:new |updated )?(?:system|instructions?)\b|^\s*(?:system|assistant|` +
	`developer)\s*(?:prompt|message|note|override|update|:)[^\n]{0,40}\b(?:you|ignore|must|now|` +
	`instructions?|always|never)\b|` +
	`"role"\s*:\s*"(?:system|assistant|tool|developer)"`)

// Attack names the kind of attack in a text; "" when there is none to be seen.
func Attack(text string) string {
	if marks.MatchString(text) {
		return "markup"
	}
	if namesTool(text) {
		return "tool"
	}
	for _, words := range readings(text) {
		groups := make([]uint64, len(words))
		for i, word := range words {
			groups[i] = known.of(word)
		}
		for i, s := range bits {
			if s.in(groups, signs[i].span) {
				return signs[i].name
			}
		}
	}
	return ""
}

// namesTool reports whether a text names a tool that changes something as only programs do.
func namesTool(text string) bool {
	text = strings.ToLower(text)
	for name, tool := range dialog.Toolbox {
		if tool.Writes && strings.Contains(name, "_") && strings.Contains(text, name) {
			return true
		}
	}
	return false
}

// vocabulary says of a word which groups it is of, as a set of bits.
type vocabulary struct {
	whole, stems map[string]uint64
	parts        []string // stems that may stand anywhere in a word
}

// signBits are a sign's groups as bits.
type signBits struct {
	groups []uint64
	unless uint64
}

var known, bits = compile(signs)

// compile gives each distinct group a bit.
func compile(signs []sign) (v vocabulary, all []signBits) {
	v = vocabulary{whole: map[string]uint64{}, stems: map[string]uint64{}}
	given := map[*string]uint64{} // by a group's first stem, which is where it lives
	bit := func(group []string) uint64 {
		if len(group) == 0 {
			return 0
		}
		if given[&group[0]] == 0 {
			given[&group[0]] = 1 << len(given)
			v.add(group, given[&group[0]])
		}
		return given[&group[0]]
	}
	for _, s := range signs {
		b := signBits{unless: bit(s.unless)}
		for _, group := range s.groups {
			b.groups = append(b.groups, bit(group))
		}
		all = append(all, b)
	}
	return v, all
}

func (v *vocabulary) add(group []string, bit uint64) {
	for _, stem := range group {
		if word, isWhole := strings.CutSuffix(stem, "."); isWhole {
			v.whole[word] |= bit
			continue
		}
		v.stems[stem] |= bit
		if first, _ := utf8.DecodeRuneInString(stem); unicode.In(first, unpartedScripts...) {
			v.parts = append(v.parts, stem)
		}
	}
}

// unpartedScripts do not part words, or join them with others.
var unpartedScripts = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Arabic, unicode.Devanagari,
}

// of are the groups of a word: by the whole of it, by how it begins, and by what stands
// in it where writing does not part words or where letters were set apart.
func (v *vocabulary) of(word string) uint64 {
	found := v.whole[word]
	for end := range word {
		found |= v.stems[word[:end]]
	}
	found |= v.stems[word]
	if word[0] >= utf8.RuneSelf {
		for _, stem := range v.parts {
			if strings.Contains(word, stem) {
				found |= v.stems[stem]
			}
		}
	}
	if len(word) > longWord {
		for stem, bit := range v.stems {
			if strings.Contains(word, stem) {
				found |= bit
			}
		}
	}
	return found
}

// longWord is longer than words are: several that are written as one, in bytes.
const longWord = 24

// in reports whether one word of each group stands within the span.
func (s signBits) in(groups []uint64, span int) bool {
	last := make([]int, len(s.groups)) // where each group was last seen, counted from 1
	for i, word := range groups {
		for g, group := range s.groups {
			if word&group != 0 {
				last[g] = i + 1
			}
		}
		first := slices.Min(last)
		if first == 0 || i+1-first >= span || slices.Max(last) != i+1 {
			continue
		}
		if from := max(first-1-before, 0); !slices.ContainsFunc(groups[from:i+1],
			func(w uint64) bool { return w&s.unless != 0 }) {
			return true
		}
	}
	return false
}

// before is how far ahead of a sign a word can stand that makes it harmless.
const before = 2
