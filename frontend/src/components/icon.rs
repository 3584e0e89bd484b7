//! Icons, drawn on a grid of 16 with strokes in the colour of the text.

use leptos::prelude::*;

/// Name and inner SVG; sorted by name.
const TABLE: &[(&str, &str)] = &[
    (
        "access",
        r#"<circle cx="6" cy="6" r="2.6"/><path d="M1.8 13.2c.5-2.4 2-3.7 4.2-3.7 1 0 1.900.3 2.600.8M11 9.200l3 1.100v1.900c0 1.500-1.200 2.500-3 3.100-1.800-.6-3-1.600-3-3.100v-1.900z"/>"#,
    ),
    ("alert", r#"<path d="M8 2.200 14.300 13.300H1.700zM8 6.300v3.200M8 11.400v.1"/>"#),
    ("arrow", r#"<path d="M3.500 8h9M8.700 4.200 12.500 8l-3.800 3.800"/>"#),
    ("back", r#"<path d="M6.500 3.500 3 7l3.500 3.500M3.200 7h6.300a3.300 3.300 0 0 1 0 6.500H7"/>"#),
    ("check", r#"<path d="m3 8.500 3.200 3.200L13 4.500"/>"#),
    ("chevron", r#"<path d="m6 3.500 4.500 4.500L6 12.500"/>"#),
    ("close", r#"<path d="m4 4 8 8M12 4l-8 8"/>"#),
    ("columns", r#"<rect x="2" y="3" width="12" height="10" rx="1.500"/><path d="M6.200 3v10M10 3v10"/>"#),
    (
        "config",
        r#"<path d="M2.500 4.500h6.500M12 4.500h1.500M2.500 11.500H4M7 11.500h6.500"/><circle cx="10.500" cy="4.500" r="1.500"/><circle cx="5.500" cy="11.500" r="1.500"/>"#,
    ),
    (
        "copy",
        r#"<rect x="5.500" y="5.500" width="8" height="8" rx="1.500"/><path d="M10.500 5.500v-2a1 1 0 0 0-1-1h-6a1 1 0 0 0-1 1v6a1 1 0 0 0 1 1h2"/>"#,
    ),
    (
        "cluster",
        r#"<rect x="2" y="2.500" width="12" height="4.300" rx="1.200"/><rect x="2" y="9.200" width="12" height="4.300" rx="1.200"/><path d="M4.500 4.600v.1M4.500 11.300v.1M7 4.600h4.500M7 11.300h4.500"/>"#,
    ),
    (
        "custom",
        r#"<path d="M6.500 2.500v2a1.500 1.500 0 0 0 3 0v-2h4v4h-1.500a1.500 1.500 0 0 0 0 3h1.500v4h-11v-11z"/>"#,
    ),
    (
        "deploy",
        r#"<path d="M8 10.500V2.500M4.800 5.500 8 2.300l3.200 3.200M2.500 10v2.300a1.200 1.200 0 0 0 1.200 1.200h8.600a1.200 1.200 0 0 0 1.200-1.200V10"/>"#,
    ),
    ("download", r#"<path d="M8 2.500v8M4.800 7.500 8 10.700l3.200-3.200M2.500 13.500h11"/>"#),
    ("edit", r#"<path d="m10.500 3 2.500 2.500-7.300 7.300-3.200.7.700-3.200z"/>"#),
    ("history", r#"<path d="M2.800 5.500A5.700 5.700 0 1 1 2.300 8M2.500 2.700v3h3M8 5v3.200l2.200 1.300"/>"#),
    ("list", r#"<path d="M5.500 4h8M5.500 8h8M5.500 12h8M2.500 4h.1M2.500 8h.1M2.500 12h.1"/>"#),
    ("logs", r#"<rect x="2.500" y="2" width="11" height="12" rx="1.500"/><path d="M5 5.500h6M5 8h6M5 10.500h3.500"/>"#),
    ("menu", r#"<path d="M2.500 4.500h11M2.500 8h11M2.500 11.500h11"/>"#),
    ("minus", r#"<path d="M3.500 8h9"/>"#),
    ("moon", r#"<path d="M13 9.500A5.500 5.500 0 0 1 6.500 3 5.500 5.500 0 1 0 13 9.500z"/>"#),
    (
        "network",
        r#"<circle cx="8" cy="3.500" r="1.700"/><circle cx="3.500" cy="12" r="1.700"/><circle cx="12.500" cy="12" r="1.700"/><path d="M7.200 5 4.300 10.500M8.800 5l2.900 5.500M5.200 12h5.600"/>"#,
    ),
    (
        "node",
        r#"<rect x="2.500" y="2.500" width="11" height="11" rx="1.500"/><path d="M5.500 5.500h5v5h-5zM2.500 8h-1M14.500 8h-1M8 2.500v-1M8 14.500v-1"/>"#,
    ),
    ("overview", r#"<path d="M2.500 10.500a5.500 5.500 0 0 1 11 0M8 10.500l2.500-3"/><path d="M2.500 13h11"/>"#),
    ("pause", r#"<path d="M5.500 3.500v9M10.500 3.500v9"/>"#),
    ("play", r#"<path d="m5 3.500 7.500 4.500L5 12.500z"/>"#),
    ("plus", r#"<path d="M8 3.500v9M3.500 8h9"/>"#),
    ("restart", r#"<path d="M13.200 6.500A5.500 5.500 0 1 0 13.500 9M13.500 3v3.700h-3.700"/>"#),
    ("scale", r#"<path d="M9.500 2.500h4v4M13.300 2.700 9 7M6.500 13.500h-4v-4M2.700 13.300 7 9"/>"#),
    ("search", r#"<circle cx="7" cy="7" r="4.200"/><path d="m10.200 10.200 3.300 3.300"/>"#),
    ("shield", r#"<path d="M8 2 13 3.800v3.700c0 3-2 5.200-5 6.500-3-1.300-5-3.500-5-6.500V3.800z"/>"#),
    (
        "storage",
        r#"<ellipse cx="8" cy="4" rx="5" ry="1.900"/><path d="M3 4v8c0 1 2.200 1.900 5 1.900s5-.9 5-1.900V4M3 8c0 1 2.200 1.900 5 1.900S13 9 13 8"/>"#,
    ),
    (
        "sun",
        r#"<circle cx="8" cy="8" r="2.700"/><path d="M8 1.500v1.300M8 13.200v1.300M1.500 8h1.300M13.200 8h1.300M3.400 3.400l.9.9M11.700 11.700l.9.9M3.400 12.600l.9-.9M11.700 4.300l.9-.9"/>"#,
    ),
    (
        "terminal",
        r#"<rect x="1.800" y="2.500" width="12.400" height="11" rx="1.500"/><path d="m4.500 6 2.300 2-2.300 2M8.500 10.300h3"/>"#,
    ),
    ("trash", r#"<path d="M2.500 4.500h11M6 4.300V2.800h4v1.500M4 4.500l.6 9h6.800l.6-9M6.800 7v4M9.200 7v4"/>"#),
    (
        "user",
        r#"<circle cx="8" cy="5.500" r="2.700"/><path d="M2.800 13.500c.6-2.700 2.500-4.200 5.200-4.200s4.600 1.500 5.200 4.200"/>"#,
    ),
    ("workloads", r#"<path d="m8 1.900 5.500 3v6.200L8 14.100l-5.500-3V4.900zM2.700 5 8 8l5.300-3M8 8v6"/>"#),
];

/// An icon that adds nothing to what a screen reader says.
pub fn icon(name: &'static str) -> impl IntoView + use<> {
    let paths = TABLE.iter().find(|(known, _)| *known == name).map_or("", |(_, paths)| *paths);
    view! { <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" inner_html=paths></svg> }
}

/// The mark: a pilothouse's three windows over the horizon.
pub fn mark() -> impl IntoView {
    let paths = r#"<path class="mark-house" d="M7.500 6h17l3.500 13H4z"/><path class="mark-pane" d="M9.400 8.500h3.600l-.7 8H7.200zM14.500 8.500h3l.5 8h-4zM19 8.500h3.600l2.200 8h-5.100z"/><path class="mark-line" d="M2 23.500c2.300 0 2.300 2 4.700 2s2.300-2 4.700-2 2.300 2 4.600 2 2.300-2 4.700-2 2.300 2 4.600 2 2.400-2 4.700-2"/>"#;
    view! { <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" inner_html=paths></svg> }
}
