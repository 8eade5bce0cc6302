
// The page inside a notebook: the messages go to the kernel.

function kernelTransport(model) {
  const waiting = new Map();
  let ids = 0;
  const receive = ({ id, reply }, buffers) => {
    waiting.get(id)?.(buffers?.length ? new Blob([buffers[0]], { type: "image/webp" }) : reply);
    waiting.delete(id);
  };
  model.on("msg:custom", receive);
  return {
    call: (name, payload) => new Promise((resolve) => {
      ids += 1;
      // Several views of one widget share its messages.
      const id = `${Math.random()} ${ids}`;
      waiting.set(id, resolve);
      model.send({ id, name, payload });
    }),
    // Nothing happens in the kernel that the page would have to be told.
    stream: () => new Promise(() => {}),
    close: () => model.off("msg:custom", receive),
  };
}

export default {
  render({ model, el }) {
    const root = document.createElement("div");
    el.classList.add("vipcli-picker");
    el.append(root);
    const transport = kernelTransport(model);
    const unmount = mount(root, transport);
    return () => {
      unmount();
      transport.close();
    };
  },
};
