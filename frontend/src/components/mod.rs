//! The building blocks of pages: small, without a framework, styled by `style/`.

pub mod call;
pub mod confirm;
pub mod dialog;
pub mod diff;
pub mod editor;
pub mod events;
pub mod facts;
pub mod icon;
pub mod meter;
pub mod nav;
pub mod palette;
pub mod script;
pub mod shell;
pub mod shortcuts;
pub mod status;
pub mod table;
pub mod tabs;
pub mod toast;
pub mod topbar;
