//! The YAML editor component: loads CodeMirror when first shown.

use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsValue;
use wasm_bindgen::closure::Closure;

use crate::components::script;

/// Commands to an editor on the page.
#[derive(Clone, Copy)]
pub struct Editor {
    view: StoredValue<Option<JsValue>, LocalStorage>,
    /// What is in it now.
    pub text: RwSignal<String>,
    /// Kept here too: the module may load later than somebody presses Edit.
    read_only: RwSignal<bool>,
}

impl Editor {
    pub fn new(text: String) -> Self {
        Self { view: StoredValue::new_local(None), text: RwSignal::new(text), read_only: RwSignal::new(false) }
    }

    #[must_use]
    pub fn read_only(self) -> Self {
        self.read_only.set(true);
        self
    }

    fn tell(&self, method: &str, arguments: &[JsValue]) {
        self.view.try_with_value(|view| {
            if let Some(view) = view {
                script::tell(view, method, arguments);
            }
        });
    }

    pub fn replace(&self, text: &str) {
        self.text.set(text.to_owned());
        self.tell("replace", &[text.into()]);
    }

    pub fn set_read_only(&self, on: bool) {
        self.read_only.set(on);
        self.tell("setReadOnly", &[on.into()]);
        if !on {
            self.tell("focus", &[]);
        }
    }

    /// Marks lines (from 1) with messages.
    pub fn diagnose(&self, found: &[(usize, String)]) {
        let pair =
            |(line, message): &(usize, String)| js_sys::Array::of2(&JsValue::from_f64(*line as f64), &message.into());
        self.tell("diagnose", &[found.iter().map(pair).collect::<js_sys::Array>().into()]);
    }
}

#[component]
pub fn EditorView(editor: Editor) -> impl IntoView {
    let node = NodeRef::<html::Div>::new();
    let failed = RwSignal::new(false);
    Effect::new(move || {
        let Some(parent) = node.get() else { return };
        spawn_local(async move {
            let Ok(module) = script::load("editor").await else {
                failed.try_set(true);
                return;
            };
            let (Some(text), Some(read_only)) = (editor.text.try_get_untracked(), editor.read_only.try_get_untracked())
            else {
                return;
            };
            let changed = Closure::<dyn FnMut(String)>::new(move |text| {
                editor.text.try_set(text);
            });
            let arguments = [parent.into(), text.into(), read_only.into(), changed.into_js_value()];
            match script::call(&module, "open", &arguments) {
                Ok(view) => {
                    // The page may be gone by now.
                    if editor.view.try_update_value(|slot| *slot = Some(view.clone())).is_none() {
                        script::tell(&view, "close", &[]);
                    } else if !read_only {
                        script::tell(&view, "focus", &[]);
                    }
                }
                Err(_) => {
                    failed.try_set(true);
                }
            }
        });
    });
    on_cleanup(move || editor.tell("close", &[]));
    view! {
        <div class="editor" data-testid="yaml-editor" node_ref=node></div>
        <Show when=move || failed.get()>
            // Without the editor's module the text can still be read and changed.
            <textarea class="editor-plain" aria-label="YAML" readonly=move || editor.read_only.get() prop:value=editor.text on:input=move |event| editor.text.set(event_target_value(&event))></textarea>
        </Show>
    }
}
