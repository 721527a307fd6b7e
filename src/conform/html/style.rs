//! How the page looks.

/// Its style sheet.
pub(super) const CSS: &str = "
:root { --text: #1c2126; --faint: #5a646e; --back: #ffffff; --card: #f4f6f8; --line: #d5dbe1;
  --link: #0b5cad; --pass: #1a7f37; --differs: #9a6700; --fail: #c0261f; --skip: #667079; --bar: #3a7bc8; }
@media (prefers-color-scheme: dark) { :root { --text: #e3e8ed; --faint: #9aa5b0; --back: #14181c;
  --card: #1d2329; --line: #343d46; --link: #7db7f0; --pass: #4ac26b; --differs: #d9a62e; --fail: #ff7b72;
  --skip: #98a2ac; --bar: #5b9be6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 4rem; color: var(--text);
  background: var(--back); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: .95rem; margin: 1.2rem 0 .4rem; }
code { font: .88em ui-monospace, monospace; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
.counts { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; font-size: 1.1rem; margin: .5rem 0 1rem; }
.counts b { font-size: 1.4rem; }
.pass { color: var(--pass); } .differs { color: var(--differs); }
.fail { color: var(--fail); } .skip { color: var(--skip); }
.facts { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; margin: 0; }
.facts dt { color: var(--faint); font-size: .8rem; }
.facts dd { margin: 0; }
.warn { border-left: 3px solid var(--differs); padding-left: .7rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; color: var(--faint); font-weight: 600; font-size: .8rem; }
th, td { padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tfoot td { border: 0; color: var(--faint); font-size: .85rem; }
th.number, td.number { text-align: right; }
.number { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
.grade { display: inline-block; min-width: 4.2rem; font-weight: 600; }
.found { font: .85em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
.sides td { width: 30%; } .sides td:first-child { width: 14%; }
details { background: var(--card); border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0;
  padding: .45rem .8rem; }
details[open] { padding-bottom: .9rem; }
details:target { border-color: var(--link); }
summary { cursor: pointer; }
.title, .cites { color: var(--faint); }
.reason { margin: .6rem 0 .2rem; }
.cites { margin: .2rem 0 .6rem; font-size: .85rem; }
.step { display: grid; grid-template-columns: minmax(9rem, 15rem) 4.2rem 1fr 5rem; gap: .6rem;
  align-items: center; font-size: .82rem; line-height: 1.55; }
.step .name { font-family: ui-monospace, monospace; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.step .number { color: var(--faint); }
.track { position: relative; height: .8rem; background: color-mix(in srgb, var(--line) 45%, transparent);
  border-radius: 2px; }
.bar { position: absolute; top: 0; bottom: 0; min-width: 2px; background: var(--bar); border-radius: 2px; }
";
