import anthropic
from openai.types.chat.completion_create_params import CompletionCreateParams

client = anthropic.Anthropic(api_key="x", base_url=BASE, max_retries=0)
ask = [{"role": "user", "content": [
    {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}}]}]
common = dict(max_tokens=64, messages=ask, system="Be brief.", metadata={"user_id": "u"}, stop_sequences=["END"], extra_body={"temperature": 0.5})


def told(what, message):
    usage = message.usage
    print(what, message.content[0].text, message.stop_reason, usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens)


told("plain", client.messages.create(model="plain", **common))
with client.messages.stream(model="plain", **common) as stream:
    assert "".join(stream.text_stream) == "Hello."
    told("stream", stream.get_final_message())

tools = [{"name": name, "description": "d", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}} for name in "fg"]
with_tools = dict(model="tools", max_tokens=64, tools=tools, tool_choice={"type": "any", "disable_parallel_tool_use": True})
said = client.messages.create(messages=ask, **with_tools)
with client.messages.stream(messages=ask, **with_tools) as stream:
    streamed = stream.get_final_message()
for message in [said, streamed]:
    print("tools", [(call.id, call.name, call.input) for call in message.content], message.stop_reason)
results = [{"type": "tool_result", "tool_use_id": "c1", "content": "22 degrees"},
           {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "none"}], "is_error": True}]
turns = ask + [{"role": "assistant", "content": said.content}, {"role": "user", "content": results}]
print("after", client.messages.create(messages=turns, **with_tools).content[0].text)

thoughts = client.messages.create(model="thoughts", max_tokens=2048, messages=ask, thinking={"type": "enabled", "budget_tokens": 1024})
print("thoughts", [block.type for block in thoughts.content])
print("parsed", client.messages.parse(model="parsed", max_tokens=64, messages=ask, output_format=City).parsed_output)


def failing(what, call, show):
    try:
        call()
        print(what, "did not fail")
    except anthropic.APIStatusError as error:
        print(what, type(error).__name__, show(error))


def stream_of(model):
    with client.messages.stream(model=model, **common) as stream:
        stream.get_final_message()


kind = lambda error: f"{error.status_code} {error.body['error']['type']}"
message = lambda error: error.body["error"]["message"]
failing("limit", lambda: client.messages.create(model="limit", **common), kind)
failing("gone", lambda: stream_of("gone"), kind)
failing("broken", lambda: stream_of("broken"), message)
failing("cut", lambda: stream_of("cut"), message)
failing("refused", lambda: client.messages.create(model="plain", max_tokens=64, messages=ask, extra_body={"top_k": 5}), message)
held_against(CompletionCreateParams, "OpenAI's")
