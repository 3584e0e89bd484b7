//! A modal dialog on the browser's own `<dialog>`: focus stays inside, Escape closes.

use leptos::html;
use leptos::prelude::*;

use crate::components::icon::icon;

/// Shows its children while `open`. They are built each time it opens.
#[component]
pub fn Dialog(
    #[prop(into)] title: String,
    open: RwSignal<bool>,
    #[prop(optional)] wide: bool,
    children: ChildrenFn,
) -> impl IntoView {
    let node = NodeRef::<html::Dialog>::new();
    let children = StoredValue::new(children);
    Effect::new(move || {
        let Some(dialog) = node.get() else { return };
        if open.get() && !dialog.open() {
            let _ = dialog.show_modal();
        } else if !open.get() && dialog.open() {
            dialog.close();
        }
    });
    let label = title.clone();
    view! {
        <dialog node_ref=node class:wide=wide aria-label=label on:close=move |_| open.set(false)>
            <Show when=move || open.get()>
                <header><h2>{title.clone()}</h2><button type="button" class="button icon-only quiet" aria-label="Close" on:click=move |_| open.set(false)>{icon("close")}</button></header>
                <div class="dialog-body">{children.with_value(|children| children())}</div>
            </Show>
        </dialog>
    }
}
