// An image of a gallery is shown large when it is clicked; Escape and another click close it.
document.addEventListener("click", (event) => {
  const dialog = document.getElementById("zoom");
  const thumb = event.target.closest(".thumb");
  if (thumb) {
    const image = thumb.querySelector("img").cloneNode();
    const text = document.createElement("p");
    text.textContent = image.alt;
    dialog.replaceChildren(image, text);
    dialog.showModal();
  } else if (dialog.open) {
    dialog.close();
  }
});
