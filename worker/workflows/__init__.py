"""Workflows: Arazzo documents, run step by step, so that a run survives the worker that ran it.

``core`` decides and does nothing else: it is pure. A shell around it reads files, sends requests,
writes the state down and waits. They meet in these functions:

1. ``core.document.parse(text)`` and ``core.places.source_place(...)``: the document, and where its
   sources lie. ``loading.open_document(file)`` reads both; it follows links and asks ``is_below``
   again.
2. ``core.plan.plan(document, sources, ...)``: the plan, or every refusal with its line. A plan is
   not stored: the same texts give the same plan, and its ``digest`` says so.
3. ``core.machine.begin(plan, inputs, secrets, ...)``: the first state, or what is wrong with the
   inputs. Of a secret the core has a reference only.
4. ``core.machine.next_move(plan, state)``: ``Send``, ``Wait``, ``Done`` or ``Failed``.
5. ``core.rendering.render(plan, state, secrets)``: the request of a ``Send`` with the secrets in
   it, for the moment of sending. What a ``Send`` itself shows has ``***`` in their place.
6. ``core.machine.apply(plan, state, event, now)``: the state after an answer, after a wait, after
   a stop, or after a worker that was lost.
7. ``core.calls.redirected(request, location)``: where a redirect goes, if it may; and
   ``core.hearing.goes_to_file(media_type, size)``: whether a body is kept as a file.

The shell of documents: ``plans`` makes plans, ``secrets`` reads references, ``http`` sends and
hears within its bounds, over sockets that ``resolving`` guards, and ``arazzo`` is the program over
all of them. ``local_run`` drives a program in one process.

The order that makes a run durable: write "attempt n begins" with the state, send, write the state
after ``apply``, go on. Who finds a run whose attempt began and has no answer applies ``Lost``: the
machine sends again only what may be repeated, asks where the document says how, and fails
otherwise. A state is one JSON value (``msgspec.json``); nothing else is needed to go on.

Documents and descriptions may say more than the specifications know:

- ``x-sluice-strict: true`` (document): the lenient rules K1, K3 and K6 are off.
- ``x-sluice-adapter`` (description): the pair of functions in ``core.adapters`` that translates.
- ``x-sluice-idempotency`` (step, operation): ``safe``, ``unsafe``, ``{header: NAME}`` or
  ``{ask: WORKFLOW}``; see ``core.operations.read_repeat``. The workflow that is asked has the
  output ``done``, true or false, and ``body``, which then stands for the answer.
- ``x-sluice-poll-seconds`` (step, action): the wait before a step is visited again.
- ``x-sluice-secret: true`` or ``false`` (input): whether it comes as a reference only. Without
  it, inputs whose name holds key, secret, auth, token or password do.

Planning reads YAML and takes up to seconds: it belongs off the event loop. A transition takes
microseconds to a few milliseconds; a JSONPath over a large body is bounded at about 0.2 s.
"""
