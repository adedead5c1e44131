import openai
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from typing import Union

client = openai.OpenAI(api_key="x", base_url=f"{BASE}/v1", max_retries=0)
create = client.chat.completions.create
ask = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [
    {"type": "text", "text": "hello"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}]}]
common = dict(messages=ask, stop=["END"], temperature=0.5, user="u", max_completion_tokens=64)


def told(what, words, finish, usage):
    print(what, words, finish, usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, usage.completion_tokens)


said = create(model="plain", **common)
told("plain", said.choices[0].message.content, said.choices[0].finish_reason, said.usage)
chunks = list(create(model="plain", stream=True, stream_options={"include_usage": True}, **common))
words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
told("stream", words, chunks[-2].choices[0].finish_reason, chunks[-1].usage)
assert all(chunk.usage is None for chunk in chunks[:-1])

tools = [{"type": "function", "function": {"name": name, "description": "d", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}} for name in "fg"]
with_tools = dict(model="tools", tools=tools, tool_choice="required", parallel_tool_calls=False)
said = create(messages=ask, **with_tools)
with client.chat.completions.stream(messages=ask, **with_tools) as stream:
    for event in stream:
        pass
    streamed = stream.get_final_completion()
for completion in [said, streamed]:
    choice = completion.choices[0]
    print("tools", [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls], choice.finish_reason)
turns = ask + [said.choices[0].message,
               {"role": "tool", "tool_call_id": "t1", "content": "22 degrees"},
               {"role": "tool", "tool_call_id": "t2", "content": [{"type": "text", "text": "none"}]}]
print("after", create(messages=turns, **with_tools).choices[0].message.content)
print("parsed", client.chat.completions.parse(model="parsed", messages=ask, response_format=City).choices[0].message.parsed)


def failing(what, call, show):
    try:
        call()
        print(what, "did not fail")
    except openai.APIError as error:
        print(what, type(error).__name__, show(error))


stream_of = lambda model: list(create(model=model, stream=True, **common))
kind = lambda error: f"{error.status_code} {error.type}"
message = lambda error: error.body["message"]
failing("limit", lambda: create(model="limit", **common), kind)
failing("gone", lambda: stream_of("gone"), kind)
failing("broken", lambda: stream_of("broken"), message)
failing("cut", lambda: stream_of("cut"), message)
failing("refused", lambda: create(model="plain", seed=1, **common), message)
# Anthropic's types left out what its API still takes from older models.
held_against(Union[MessageCreateParamsStreaming, MessageCreateParamsNonStreaming], "Anthropic's", besides=["temperature"])
