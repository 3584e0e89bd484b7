// The YAML editor: CodeMirror 6 with only the parts the dashboard uses.
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { HighlightStyle, bracketMatching, codeFolding, foldGutter, foldKeymap, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { forEachDiagnostic, lintGutter, setDiagnostics } from "@codemirror/lint";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState } from "@codemirror/state";
import { EditorView, drawSelection, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

// Colours come from the dashboard's own tokens, so the editor follows the theme without being told.
const colours = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--code-key)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--code-string)" },
  { tag: [tags.number, tags.bool, tags.null, tags.keyword, tags.atom], color: "var(--code-number)" },
  { tag: [tags.comment, tags.meta], color: "var(--code-comment)", fontStyle: "italic" },
  { tag: [tags.punctuation, tags.separator, tags.squareBracket, tags.brace], color: "var(--text-3)" },
]);

const look = EditorView.theme({
  "&": { height: "100%", fontSize: "12.5px", backgroundColor: "var(--surface)", color: "var(--text)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55" },
  ".cm-gutters": { backgroundColor: "var(--surface)", color: "var(--text-3)", border: "none", paddingLeft: "4px" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--hover)" },
  ".cm-cursor": { borderLeftColor: "var(--accent)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--selection)" },
  ".cm-selectionMatch": { backgroundColor: "var(--selection)" },
  ".cm-foldPlaceholder": { backgroundColor: "var(--sunken)", border: "none", color: "var(--text-2)", padding: "0 4px" },
  ".cm-panels": { backgroundColor: "var(--sunken)", color: "var(--text)", borderColor: "var(--line)" },
  ".cm-panels input, .cm-panels button": { font: "inherit", backgroundImage: "none", backgroundColor: "var(--surface)", color: "var(--text)", border: "1px solid var(--line)", borderRadius: "4px" },
  ".cm-tooltip": { backgroundColor: "var(--raised)", border: "1px solid var(--line)", borderRadius: "6px", color: "var(--text)" },
  ".cm-diagnostic-error": { borderLeftColor: "var(--bad)" },
  // CodeMirror draws these as data: images, which the content security policy does not let in.
  ".cm-lint-marker-error": { content: "none", width: "9px", height: "9px", margin: "5px 3px 0", borderRadius: "2px", backgroundColor: "var(--fill-bad)" },
  ".cm-lintRange-error": { backgroundImage: "none", textDecoration: "underline wavy var(--bad)", textUnderlineOffset: "3px" },
});

/** Makes an editor in `parent`. Returns functions to read, replace and annotate its text. */
export function open(parent, text, readOnly, onChange) {
  const locked = new Compartment();
  const lock = (on) => [EditorState.readOnly.of(on), EditorView.editable.of(!on)];
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: text,
      extensions: [
        lineNumbers(), foldGutter(), codeFolding(), history(), drawSelection(), indentOnInput(), bracketMatching(),
        highlightActiveLine(), highlightActiveLineGutter(), highlightSelectionMatches(), search({ top: true }), lintGutter(),
        keymap.of([...defaultKeymap, ...historyKeymap, ...searchKeymap, ...foldKeymap, indentWithTab]),
        yaml(), syntaxHighlighting(colours), look, locked.of(lock(readOnly)),
        EditorView.contentAttributes.of({ "aria-label": "YAML", "data-testid": "yaml-content" }),
        EditorView.updateListener.of((update) => { if (update.docChanged) onChange(update.state.doc.toString()); }),
      ],
    }),
  });
  return {
    text: () => view.state.doc.toString(),
    // Keeps scroll and cursor where they were as far as the new text allows.
    replace(next) {
      const now = view.state.doc.toString();
      if (now === next) return;
      let from = 0;
      while (from < now.length && from < next.length && now[from] === next[from]) from++;
      let end = 0;
      while (end < now.length - from && end < next.length - from && now[now.length - 1 - end] === next[next.length - 1 - end]) end++;
      view.dispatch({ changes: { from, to: now.length - end, insert: next.slice(from, next.length - end) } });
    },
    setReadOnly: (on) => view.dispatch({ effects: locked.reconfigure(lock(on)) }),
    /** `found` is a list of [line from 1, message]; the first one is scrolled into view. */
    diagnose(found) {
      const { doc } = view.state;
      const marks = found.map(([line, message]) => {
        const at = doc.line(Math.min(Math.max(line, 1), doc.lines));
        return { from: at.from + at.text.search(/\S|$/), to: at.to, severity: "error", message };
      });
      view.dispatch(setDiagnostics(view.state, marks));
      let first = null;
      forEachDiagnostic(view.state, (_, from) => { first ??= from; });
      if (first !== null) view.dispatch({ effects: EditorView.scrollIntoView(first, { y: "center" }) });
    },
    focus: () => view.focus(),
    close: () => view.destroy(),
  };
}
