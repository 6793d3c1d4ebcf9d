"""Chat templates written for the test. Between them they use every construct that the published templates of Qwen2.5,
Qwen3 and Llama-3 use: tools through tojson, namespaces, reversed and sliced lists, loop variables, string methods,
tests, macros, whitespace control, raise_exception, generation spans. (name, template, inputs)"""

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "What is the weather in Zürich & Genève?  "}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 3, "metric": True}}},
        {"type": "function", "function": {"name": "weather", "arguments": {"city": "Genève", "days": 1, "metric": None}}},
    ],
}
RESULT = {"role": "tool", "content": '{"temperature": 7.5}'}
RESULT_2 = {"role": "tool", "content": '{"temperature": 9}'}
THOUGHT = {"role": "assistant", "content": "<think>\nTwo numbers: 7.5 and 9.\n</think>\n\nIt is 7.5 and 9 degrees.\n"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Forecast for a city <b>'now'</b> & later",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "scale": 0.5}},
                "required": ["city"],
            },
        },
    }
]
WHOLE = [SYSTEM, USER, CALL, RESULT, RESULT_2, THOUGHT, {"role": "user", "content": "Thanks."}]

# Tools in the system turn; results of one round grouped in one user turn by looking at the neighbours (as Qwen2.5 does).
TOOL_CALLS = """\
{%- if messages[0]['role'] == 'system' %}
    {%- set rules = messages[0]['content'] %}
{%- else %}
    {%- set rules = 'You answer questions.' %}
{%- endif %}
{{- '<turn|system>\\n' + rules }}
{%- if tools %}
    {{- "\\n\\nYou can call:\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools>" }}
{%- endif %}
{{- '</turn>\\n' }}
{%- for m in messages %}
    {%- if (m.role == "user") or (m.role == "system" and not loop.first) or (m.role == "assistant" and not m.tool_calls) %}
        {{- '<turn|' + m.role + '>\\n' + m.content + '</turn>' + '\\n' }}
    {%- elif m.role == "assistant" %}
        {{- '<turn|' + m.role + '>' }}
        {%- if m.content %}
            {{- '\\n' + m.content }}
        {%- endif %}
        {%- for call in m.tool_calls %}
            {%- if call.function is defined %}
                {%- set call = call.function %}
            {%- endif %}
            {{- '\\n<call>{"name": "' }}
            {{- call.name }}
            {{- '", "arguments": ' }}
            {{- call.arguments | tojson }}
            {{- '}</call>' }}
        {%- endfor %}
        {{- '</turn>\\n' }}
    {%- elif m.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<turn|user>' }}
        {%- endif %}
        {{- '\\n<result>' }}
        {{- m.content }}
        {{- '</result>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '</turn>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<turn|assistant>\\n' }}
{%- endif %}
"""

# The last question found from behind through a namespace; thoughts before it dropped by string methods (as Qwen3 does).
THINKING = """\
{%- set found = namespace(looking=true, at=messages|length - 1) %}
{%- for m in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if found.looking and m.role == "user" and m.content is string and not(m.content.startswith('<result>') and m.content.endswith('</result>')) %}
        {%- set found.looking = false %}
        {%- set found.at = index %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set said = m.content if m.content is string else '' %}
    {%- set thought = '' %}
    {%- if m.reasoning_content is defined and m.reasoning_content is not none %}
        {%- set thought = m.reasoning_content %}
    {%- elif m.role == "assistant" and '</think>' in said %}
        {%- set thought = said.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set said = said.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<turn|' ~ m.role ~ '>\\n' }}
    {%- if loop.index0 > found.at and (loop.last or (not loop.last and thought)) %}
        {{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' }}
    {%- endif %}
    {{- said }}
    {%- for call in m.tool_calls or [] %}
        {%- if (loop.first and said) or (not loop.first) %}
            {{- '\\n' }}
        {%- endif %}
        {%- if call.function %}
            {%- set call = call.function %}
        {%- endif %}
        {{- '<call>' ~ call.name ~ ' ' }}
        {%- if call.arguments is string %}
            {{- call.arguments }}
        {%- else %}
            {{- call.arguments | tojson }}
        {%- endif %}
        {{- '</call>' }}
    {%- endfor %}
    {{- '</turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<turn|assistant>\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

# Optional inputs with defaults, messages rebound to a slice, indented JSON, filters with arguments and at the end of a
# sum, membership, `items`, tests of kind, refusals (as Llama-3.1 to 3.3 do).
HEADERS = """\
{{- bos_token }}
{%- if extra_tools is defined %}
    {%- set tools = extra_tools %}
{%- endif %}
{%- if not tools_with_question is defined %}
    {%- set tools_with_question = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined and false %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "1 April" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set rules = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set rules = "" %}
{%- endif %}
{{- "[system]\\n" }}
{%- if programs is defined or tools is not none %}
    {{- "Setting: shell\\n" }}
{%- endif %}
{%- if programs is defined %}
    {{- "Programs: " + programs | reject('equalto', 'python') | join(", ") + "\\n\\n"}}
{%- endif %}
{{- "Date: " + date_string + "\\n" + rules + "[end]" }}
{%- if tools_with_question and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set question = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("There is no question that the tools could stand before!") }}
    {%- endif %}
    {{- '[user]\\n' -}}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- question + "[end]"}}
{%- endif %}
{%- for m in messages %}
    {%- if not (m.role == 'ipython' or m.role == 'tool' or 'tool_calls' in m) %}
        {{- '[' + m['role'] + ']\\n'+ m['content'] | trim + '[end]' }}
    {%- elif 'tool_calls' in m %}
        {%- if not m.tool_calls|length == 1 %}
            {{- raise_exception("One call at a time!") }}
        {%- endif %}
        {%- set call = m.tool_calls[0].function %}
        {{- '[assistant]\\n' -}}
        {%- if programs is defined and call.name in programs %}
            {{- call.name + "(" }}
            {%- for key, value in call.arguments | items %}
                {{- key + '="' + value + '"' }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- endif %}
            {%- endfor %}
            {{- ")" }}
        {%- else %}
            {{- call.name + ' ' }}
            {{- call.arguments | tojson }}
        {%- endif %}
        {{- "[end]" }}
    {%- elif m.role == "tool" or m.role == "ipython" %}
        {{- "[result]\\n" }}
        {%- if m.content is mapping or m.content is iterable %}
            {{- m.content | tojson }}
        {%- else %}
            {{- m.content }}
        {%- endif %}
        {{- "[end]" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[assistant]\\n' }}
{%- endif %}
"""

# All on one line, the turn kept in a variable and the first one prefixed (as Llama-3 does).
FIRST_PREFIXED = (
    "{% set turns = messages %}{% for m in turns %}{% set content = '[' + m['role'] + ']\n\n' + m['content'] | trim + '[end]' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]\n\n' }}{% endif %}"
)

# What remains: comments, macros, content in parts, defaults, lines that the block settings swallow, small expressions.
PARTS_AND_MACROS = """\
{# trim_blocks and lstrip_blocks are on: this line leaves nothing #}
{%- macro turn(role, body, mark='') %}
[{{ role | upper }}{{ mark }}] {{ body }}
{% endmacro %}
{%- set roles = {'user': 'U', 'assistant': 'A'} %}
{%- for m in messages %}
    {%- if m.content is string %}
        {%- set body = m.content %}
    {%- else %}
        {%- set gathered = namespace(text='', images=0) %}
        {%- for part in m.content %}
            {%- if part.type == 'text' %}
                {%- set gathered.text = gathered.text + part['text'] + ' ' %}
            {%- else %}
                {%- set gathered.images = gathered.images + 1 %}
            {%- endif %}
        {%- endfor %}
        {%- set body = gathered.text ~ '(' ~ gathered.images ~ ' of ' ~ (m.content | selectattr('type', 'equalto', 'image') | list | length) ~ ')' %}
    {%- endif %}
{{- turn(roles.get(m.role, m.role), body.replace('\\t', ' ').strip(), mark='!' if loop.last else '') }}
    {% if loop.previtem is defined and loop.previtem.role == m.role %}
same role as before
    {% endif %}
{%- endfor %}
{{ title | default('untitled') }} {{ messages | map(attribute='role') | join(',') }} {{ turns | default(3) - 1 }} {{ 7 // 2 }} {{ 7 % 2 }}
{{ 'open' if messages[-1]['role'] == 'user' else 'closed' }} {{ 'x' not in 'abc' and 'no x' }} {{ 'gone' if messages[0].missing is not defined }}
{{ range(3) | list | tojson }} {{ [1, 'ä', none, true, {'k': 1.5}] | tojson }} {{ 'a,b'.split(',')[1] }} {{ "it's" | replace("'", '"') }} {{ strftime_now('%Y') | length }}
"""

# Spans of the assistant marked for the loss mask; the mark itself leaves nothing.
GENERATION = """\
{%- for m in messages %}
{%- if m.role == 'assistant' %}
{{- '<turn|assistant>\\n' }}{% generation %}{{ m.content + '</turn>' }}{% endgeneration %}{{ '\\n' }}
{%- else %}
{{- '<turn|' + m.role + '>\\n' + m.content + '</turn>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<turn|assistant>\\n' }}{% endif %}
"""

ALTERNATION = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('After ' + messages[loop.index0 - 1]['role'] + ' comes the other role.') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ 'Q: ' + m['content'] + '\n' }}{% elif m['role'] == 'assistant' %}"
    "{{ 'A: ' + m['content'] + eos_token }}{% else %}{{ raise_exception('Only user and assistant.') }}{% endif %}{% endfor %}"
)

ONE_CALL = {**CALL, "tool_calls": CALL["tool_calls"][:1]}
BUILTIN = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "search", "arguments": {"query": "rust", "lang": "en"}}}]}
PICTURE = {"role": "user", "content": [{"type": "text", "text": "What\tis"}, {"type": "image"}, {"type": "text", "text": "this?"}]}

CASES = [
    ("tool-calls", TOOL_CALLS, {"messages": WHOLE, "tools": TOOLS, "add_generation_prompt": True}),
    ("tool-calls-without-tools", TOOL_CALLS, {"messages": WHOLE[:2], "add_generation_prompt": False}),
    ("tool-calls-no-system", TOOL_CALLS, {"messages": WHOLE[1:], "tools": TOOLS, "add_generation_prompt": True}),
    ("thinking", THINKING, {"messages": WHOLE, "add_generation_prompt": True}),
    ("thinking-off", THINKING, {"messages": WHOLE, "add_generation_prompt": True, "enable_thinking": False}),
    ("thinking-last-turn-kept", THINKING, {"messages": WHOLE[:-1], "add_generation_prompt": False}),
    (
        "thinking-given-apart",
        THINKING,
        {"messages": [USER, {"role": "assistant", "content": "9.", "reasoning_content": "\nsum\n"}], "add_generation_prompt": False},
    ),
    ("headers", HEADERS, {"messages": [SYSTEM, USER, THOUGHT], "add_generation_prompt": True}),
    ("headers-date", HEADERS, {"messages": [USER], "add_generation_prompt": True, "date_string": "01 Apr 2025"}),
    ("headers-tools", HEADERS, {"messages": [SYSTEM, USER, ONE_CALL, RESULT], "tools": TOOLS, "add_generation_prompt": True}),
    (
        "headers-tools-in-system",
        HEADERS,
        {"messages": [SYSTEM, USER, ONE_CALL], "tools": TOOLS, "tools_with_question": False, "add_generation_prompt": False},
    ),
    (
        "headers-builtin",
        HEADERS,
        {"messages": [USER, BUILTIN], "programs": ["search", "python"], "add_generation_prompt": False},
    ),
    ("headers-refuses-two-calls", HEADERS, {"messages": [USER, CALL], "add_generation_prompt": False}),
    ("headers-refuses-no-question", HEADERS, {"messages": [SYSTEM], "tools": TOOLS, "add_generation_prompt": False}),
    ("first-prefixed", FIRST_PREFIXED, {"messages": [SYSTEM, USER], "add_generation_prompt": True}),
    ("parts-and-macros", PARTS_AND_MACROS, {"messages": [SYSTEM, PICTURE, USER], "add_generation_prompt": False}),
    ("parts-and-macros-given", PARTS_AND_MACROS, {"messages": [USER, THOUGHT], "title": "a small title", "turns": 9}),
    ("generation", GENERATION, {"messages": WHOLE[:2] + [THOUGHT] + WHOLE[-1:], "add_generation_prompt": True}),
    ("alternation", ALTERNATION, {"messages": [USER, THOUGHT, USER]}),
    ("alternation-refused", ALTERNATION, {"messages": [USER, USER]}),
]
