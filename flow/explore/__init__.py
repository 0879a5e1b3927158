"""The flow under one's hands: a page in the browser with the solver behind it.

    python -m flow.explore
    python -m flow.explore '?n=64&seed=0&lam=0.01&off=interference@20&flip=47,16@565'
    python -m flow.explore --n 32 --m 64 --save page.html

From what is simulated to what is seen:

- :mod:`~flow.explore.state`: all that a page shows, as data;
- :mod:`~flow.explore.links`, :mod:`~flow.explore.texts`: the same as link, TOML, commands, Python;
- :mod:`~flow.explore.frames`: W and G along a run, 8 bits each;
- :mod:`~flow.explore.compute`: the run of a state;
- :mod:`~flow.explore.marks`, :mod:`~flow.explore.curves`, :mod:`~flow.explore.words`: what happened
  in it, what is drawn of it, what is said of it;
- :mod:`~flow.explore.worker`: the process that computes, kept;
- :mod:`~flow.explore.panels`, :mod:`~flow.explore.controls`, :mod:`~flow.explore.page`: the page;
- :mod:`~flow.explore.saved`, :mod:`~flow.explore.session`, :mod:`~flow.explore.server`,
  :mod:`~flow.explore.cli`: where it is shown.

Needs the extra ``explore`` (Bokeh).
"""
