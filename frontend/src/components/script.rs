//! The lazily loaded scripts (editor, terminal) as seen from here: objects with methods.

use js_sys::{Array, Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// Loads a module by its name in `js/boot.js`.
pub async fn load(name: &str) -> Result<JsValue, JsValue> {
    let bridge = Reflect::get(&js_sys::global(), &"pilothouse".into())?;
    let promise: Promise = call(&bridge, "load", &[JsValue::from_str(name)])?.dyn_into()?;
    JsFuture::from(promise).await
}

pub fn call(target: &JsValue, method: &str, arguments: &[JsValue]) -> Result<JsValue, JsValue> {
    let function: Function = Reflect::get(target, &method.into())?.dyn_into()?;
    function.apply(target, &arguments.iter().collect::<Array>())
}

/// Calls and leaves the outcome aside: used for effects on a view that may be gone.
pub fn tell(target: &JsValue, method: &str, arguments: &[JsValue]) {
    let _ = call(target, method, arguments);
}
