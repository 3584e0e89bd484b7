//! The few things asked of the browser itself.

use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Document, HtmlElement, KeyboardEvent, MouseEvent, Storage, Window};

/// Keys in local storage start with this.
const PREFIX: &str = "pilothouse.";

/// This code only ever runs in a page; without a window there is nothing to do.
pub fn window() -> Option<Window> {
    web_sys::window()
}

pub fn document() -> Option<Document> {
    window()?.document()
}

/// Seconds since 1970.
pub fn now() -> i64 {
    (js_sys::Date::now() / 1000.0) as i64
}

pub fn path() -> String {
    window().and_then(|window| window.location().pathname().ok()).unwrap_or_default()
}

pub fn query() -> String {
    window().and_then(|window| window.location().search().ok()).unwrap_or_default()
}

pub fn push(path: &str) {
    if let Some(history) = window().and_then(|window| window.history().ok()) {
        let _ = history.push_state_with_url(&JsValue::NULL, "", Some(path));
    }
}

/// Changes the query of the address in place.
pub fn replace_query(query: &str) {
    if let Some(history) = window().and_then(|window| window.history().ok()) {
        let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&format!("{}{query}", path())));
    }
}

/// `wss://host` of the page.
pub fn socket_origin() -> String {
    let location = window().map(|window| window.location());
    let host = location.as_ref().and_then(|location| location.host().ok()).unwrap_or_default();
    let secure = location.and_then(|location| location.protocol().ok()).is_some_and(|protocol| protocol == "https:");
    format!("{}://{host}", if secure { "wss" } else { "ws" })
}

fn storage() -> Option<Storage> {
    window()?.local_storage().ok().flatten()
}

pub fn recall(key: &str) -> Option<String> {
    storage()?.get_item(&format!("{PREFIX}{key}")).ok().flatten()
}

pub fn remember(key: &str, value: &str) {
    if let Some(storage) = storage() {
        let _ = storage.set_item(&format!("{PREFIX}{key}"), value);
    }
}

pub fn forget(key: &str) {
    if let Some(storage) = storage() {
        let _ = storage.remove_item(&format!("{PREFIX}{key}"));
    }
}

/// Listens for as long as the page lives.
pub fn on_window(event: &str, action: impl FnMut(web_sys::Event) + 'static) {
    let listener = Closure::<dyn FnMut(web_sys::Event)>::new(action);
    if let Some(window) = window() {
        let _ = window.add_event_listener_with_callback(event, listener.as_ref().unchecked_ref());
    }
    listener.forget();
}

pub fn on_key(mut action: impl FnMut(KeyboardEvent) + 'static) {
    on_window("keydown", move |event| action(event.unchecked_into()));
}

/// Calls `follow` with the address of a plain click on a link of ours; when it takes the path, the browser does not.
pub fn on_link(mut follow: impl FnMut(&str) -> bool + 'static) {
    on_window("click", move |event| {
        let mouse: &MouseEvent = event.unchecked_ref();
        if mouse.button() != 0
            || mouse.ctrl_key()
            || mouse.meta_key()
            || mouse.shift_key()
            || mouse.alt_key()
            || event.default_prevented()
        {
            return;
        }
        let target = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
        let Some(link) = target.and_then(|target| target.closest("a[href]").ok().flatten()) else { return };
        if link.has_attribute("download") || link.has_attribute("target") {
            return;
        }
        let path = link.get_attribute("href").unwrap_or_default();
        if follow(&path) {
            event.prevent_default();
        }
    });
}

/// The theme that is chosen: `dark`, `light` or empty for the system's.
pub fn theme() -> String {
    recall("theme").unwrap_or_default()
}

pub fn set_theme(theme: &str) {
    remember("theme", theme);
    let Some(root) = document().and_then(|document| document.document_element()) else { return };
    let _ =
        if theme.is_empty() { root.remove_attribute("data-theme") } else { root.set_attribute("data-theme", theme) };
}

pub fn is_dark() -> bool {
    match theme().as_str() {
        "dark" => true,
        "light" => false,
        _ => window()
            .and_then(|window| window.match_media("(prefers-color-scheme: dark)").ok().flatten())
            .is_some_and(|query| query.matches()),
    }
}

pub fn set_title(title: &str) {
    if let Some(document) = document() {
        document.set_title(&if title.is_empty() { "Pilothouse".to_owned() } else { format!("{title} · Pilothouse") });
    }
}

pub fn copy(text: &str) {
    if let Some(window) = window() {
        let _ = window.navigator().clipboard().write_text(text);
    }
}

/// Whether keys go into a field, so that they are no commands.
pub fn is_typing() -> bool {
    let Some(element) = document().and_then(|document| document.active_element()) else { return false };
    let editable = element.dyn_ref::<HtmlElement>().is_some_and(HtmlElement::is_content_editable);
    editable || matches!(element.tag_name().as_str(), "INPUT" | "TEXTAREA" | "SELECT")
}

pub fn focus(id: &str) {
    if let Some(element) =
        document().and_then(|document| document.get_element_by_id(id)).and_then(|e| e.dyn_into::<HtmlElement>().ok())
    {
        let _ = element.focus();
    }
}

/// A new page begins at its top.
pub fn scroll_to_top() {
    if let Some(main) = document().and_then(|document| document.get_element_by_id("main")) {
        main.set_scroll_top(0);
    }
}

/// Offers text as a file.
pub fn download(name: &str, text: &str) {
    let parts = js_sys::Array::of1(&JsValue::from_str(text));
    let Ok(blob) = web_sys::Blob::new_with_str_sequence(&parts) else { return };
    let Ok(url) = web_sys::Url::create_object_url_with_blob(&blob) else { return };
    let link = document()
        .and_then(|document| document.create_element("a").ok())
        .and_then(|e| e.dyn_into::<web_sys::HtmlAnchorElement>().ok());
    if let Some(link) = link {
        link.set_href(&url);
        link.set_download(name);
        link.click();
    }
    let _ = web_sys::Url::revoke_object_url(&url);
}
