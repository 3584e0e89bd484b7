//! Login, and the wait for a server that does not answer.

use leptos::ev::SubmitEvent;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api::session;
use crate::app::app;
use crate::components::icon::mark;

#[component]
pub fn LoginPage() -> impl IntoView {
    let app = app();
    let (username, password) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let (busy, error) = (RwSignal::new(false), RwSignal::new(String::new()));
    crate::browser::set_title("Log in");
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        busy.set(true);
        error.set(String::new());
        spawn_local(async move {
            match session::login(username.get_untracked().trim(), &password.get_untracked()).await {
                Ok(user) => app.entered(user),
                Err(status) => {
                    let text = match status.code {
                        401 | 403 => "User name or password is wrong.".to_owned(),
                        429 => format!(
                            "Too many attempts. Try again in {} seconds.",
                            status.details.map_or(10, |details| details.retry_after_seconds.max(1))
                        ),
                        0 => "The server does not answer.".to_owned(),
                        _ => status.message,
                    };
                    error.try_set(text);
                    busy.try_set(false);
                    password.try_set(String::new());
                    crate::browser::focus("password");
                }
            }
        });
    };
    view! {
        <div class="gate">
            <form class="gate-card" on:submit=submit>
                <div class="gate-brand">{mark()}<h1>"Pilothouse"</h1></div>
                <label class="field"><span>"User"</span><input class="input" name="username" autocomplete="username" autofocus required data-testid="login-username" prop:value=username on:input=move |event| username.set(event_target_value(&event))/></label>
                <label class="field"><span>"Password"</span><input class="input" id="password" name="password" type="password" autocomplete="current-password" required data-testid="login-password" prop:value=password on:input=move |event| password.set(event_target_value(&event))/></label>
                <p class="field-error" role="alert" data-testid="login-error">{error}</p>
                <button class="button primary big" type="submit" data-testid="login-submit" disabled=move || busy.get()>{move || if busy.get() { "Logging in…" } else { "Log in" }}</button>
            </form>
        </div>
    }
}

pub fn waiting(message: &str) -> impl IntoView + use<> {
    let message = message.to_owned();
    view! { <div class="gate"><div class="gate-card"><div class="gate-brand">{mark()}<h1>"Pilothouse"</h1></div><p class="state bad"><i class="pulse"></i>"Waiting for the server"</p><p class="dim">{message}</p></div></div> }
}
