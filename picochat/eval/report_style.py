"""How the report looks, on light and dark pages; the buttons of the examples filter without a script."""

STYLE = """\
:root { color-scheme: light dark; --line: rgba(136, 136, 136, 0.35); --good: #009e73; --bad: #d55e00; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  background: light-dark(#fff, #111); color: light-dark(#222, #ddd); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: 0.3rem 0.8rem 0.3rem 0; text-align: left;
  vertical-align: top; }
td.text { white-space: pre-wrap; overflow-wrap: anywhere; max-width: 30rem; min-width: 8rem; }
small { display: block; color: #888; }
.good b { color: var(--good); } .bad b { color: var(--bad); }
details { margin-top: 2rem; } summary { cursor: pointer; font-weight: 600; }
details input { position: absolute; opacity: 0; }
details label { display: inline-block; margin: 0.6rem 0.3rem 0 0; padding: 0.1rem 0.7rem;
  border: 1px solid var(--line);  border-radius: 1rem; cursor: pointer; }
input:checked + label { background: #0072b2; color: #fff; }
input:focus-visible + label { outline: 2px solid #e69f00; }
input.right:checked ~ .wide tbody tr:not(.right),
input.wrong:checked ~ .wide tbody tr:not(.wrong),
input.differs:checked ~ .wide tbody tr:not(.differs) { display: none; }
"""
